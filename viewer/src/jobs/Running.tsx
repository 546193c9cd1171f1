/** A run that goes on: how far it is, and the way to stop it. */

export function Running(props: { label: string; progress: number; message?: string; onCancel?: () => void }) {
  const { label, progress, message, onCancel } = props;
  const percent = Math.round(progress * 100);
  return (
    <div className="running" role="status">
      <div className="bar" role="progressbar" aria-valuenow={percent} aria-label={label}>
        <i style={{ width: `${percent}%` }} />
      </div>
      <span className="dim">
        {label} {percent} %{message ? ` · ${message}` : ""}
      </span>
      {onCancel && (
        <button className="small" onClick={onCancel}>
          Cancel
        </button>
      )}
    </div>
  );
}
