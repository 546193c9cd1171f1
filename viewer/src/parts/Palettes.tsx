/** Colour maps to choose from: the usual ones, and all on request. */

import { useState } from "react";

import { COLORMAPS, USUAL, gradient } from "../viewport/palettes";

export function Palettes(props: {
  value: string;
  onChange: (name: string) => void;
  /** the attribute that names each button for tests: `data-colormap`, `data-fusion` */
  mark?: "colormap" | "fusion";
  /** leave out grey, which says nothing over grey */
  colourOnly?: boolean;
}) {
  const { value, onChange, mark = "colormap", colourOnly = false } = props;
  const [all, setAll] = useState(false);
  const offered = COLORMAPS.filter((c) => !colourOnly || c.name !== "soma-grey");
  const shown = offered.filter((c, i) => all || i < USUAL || c.name === value);
  return (
    <>
      <div className="maps">
        {shown.map((c) => (
          <button
            key={c.name}
            {...{ [`data-${mark}`]: c.name }}
            aria-pressed={value === c.name}
            title={c.warning ? `${c.label}: ${c.warning}` : c.label}
            onClick={() => onChange(c.name)}
          >
            <i style={{ background: gradient(c.name, "to right") }} />
            {c.label}
          </button>
        ))}
      </div>
      <button className="small quiet" aria-expanded={all} onClick={() => setAll(!all)}>
        {all ? "Fewer colours" : `${offered.length - USUAL} more`}
      </button>
    </>
  );
}
