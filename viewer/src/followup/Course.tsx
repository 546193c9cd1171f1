/** Volumes of the lesions over the examinations, as lines. */

import { date } from "../dicom/json";
import { coursesOf } from "./lesions";

const SIZE = { width: 300, height: 150, left: 40, right: 10, top: 12, bottom: 22 };
const INKS = ["#66c2e8", "#e8a566", "#8fd18f", "#d98fd1", "#e8d766", "#9aa8e8", "#e87f7f", "#7fe8d4"];

function day(time: string): number {
  const t = Date.parse(`${time.slice(0, 4)}-${time.slice(4, 6)}-${time.slice(6, 8)}`);
  return Number.isNaN(t) ? Number.NaN : t / 86_400_000;
}

export function Course(props: { courses: ReturnType<typeof coursesOf>; chosen: string; onChoose: (uid: string) => void }) {
  const { courses } = props;
  const times = [...new Set(courses.flatMap((c) => c.volumes.map(([t]) => t)))].sort();
  const most = Math.max(...courses.flatMap((c) => c.volumes.map(([, v]) => v)), 0);
  if (times.length < 2 || most <= 0) return null;
  const days = times.map(day);
  const dated = days.every(Number.isFinite);
  const [first, last] = dated ? [days[0] ?? 0, days.at(-1) ?? 1] : [0, times.length - 1];
  const x = (t: string) => {
    const at = dated ? day(t) : times.indexOf(t);
    return SIZE.left + ((at - first) / (last - first || 1)) * (SIZE.width - SIZE.left - SIZE.right);
  };
  const y = (v: number) => SIZE.height - SIZE.bottom - (v / most) * (SIZE.height - SIZE.top - SIZE.bottom);
  return (
    <svg className="course" viewBox={`0 0 ${SIZE.width} ${SIZE.height}`} role="img" aria-label="Volume of each lesion over time">
      {[0, most / 2, most].map((v) => (
        <g key={v}>
          <line x1={SIZE.left} x2={SIZE.width - SIZE.right} y1={y(v)} y2={y(v)} />
          <text x={SIZE.left - 4} y={y(v) + 3} textAnchor="end">
            {(v / 1000).toPrecision(2)}
          </text>
        </g>
      ))}
      <text x={4} y={9}>
        ml
      </text>
      {times.map((t, i) => (
        <text key={t} x={x(t)} y={SIZE.height - 6} textAnchor={i === 0 ? "start" : i === times.length - 1 ? "end" : "middle"}>
          {dated ? date(t) : t}
        </text>
      ))}
      {courses.map((c, i) => (
        <g
          key={c.uid}
          stroke={INKS[i % INKS.length]}
          fill={INKS[i % INKS.length]}
          opacity={props.chosen && props.chosen !== c.uid ? 0.35 : 1}
          onClick={() => props.onChoose(c.uid)}
        >
          <title>{c.name}</title>
          <polyline fill="none" strokeWidth={1.8} points={c.volumes.map(([t, v]) => `${x(t)},${y(v)}`).join(" ")} />
          {c.volumes.map(([t, v]) => (
            <circle key={t} cx={x(t)} cy={y(v)} r={2.6} />
          ))}
        </g>
      ))}
    </svg>
  );
}
