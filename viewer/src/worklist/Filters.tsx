/** Search box, modality and dates. */

import { Icon } from "../parts/Icon";

export interface Filter {
  text: string;
  modality: string;
  from: string;
  to: string;
}

const MODALITIES = ["CT", "MR", "PT", "NM", "US", "CR", "DX", "MG", "XA", "RF", "SC", "SEG", "OT"];

export function Filters({ value, onChange }: { value: Filter; onChange: (f: Filter) => void }) {
  const set = (part: Partial<Filter>) => onChange({ ...value, ...part });
  return (
    <div className="filters" role="search">
      <label className="searchbox">
        <Icon name="search" />
        <input
          type="search"
          placeholder="Name, ID, description, accession"
          aria-label="Search studies"
          value={value.text}
          onChange={(e) => set({ text: e.target.value })}
        />
      </label>
      <select
        aria-label="Modality"
        value={value.modality}
        onChange={(e) => set({ modality: e.target.value })}
      >
        <option value="">All modalities</option>
        {MODALITIES.map((m) => (
          <option key={m}>{m}</option>
        ))}
      </select>
      <label className="dates">
        <span className="dim">from</span>
        <input
          type="date"
          aria-label="Study date from"
          value={value.from}
          onChange={(e) => set({ from: e.target.value })}
        />
        <span className="dim">to</span>
        <input
          type="date"
          aria-label="Study date to"
          value={value.to}
          onChange={(e) => set({ to: e.target.value })}
        />
      </label>
    </div>
  );
}
