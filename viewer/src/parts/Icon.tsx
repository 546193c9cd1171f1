/** Line icons, drawn for this viewer on a 20 by 20 grid. */

const PATHS: Record<string, string> = {
  mark: "M10 4.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11M10 2v5M10 13v5M2 10h5M13 10h5",
  back: "M12 4l-6 6 6 6",
  help: "M7.5 7.5a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1.9-1.1 1.8M10 14.5v.2M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15",
  search: "M9 3.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11M13 13l4 4",
  upload: "M10 13V3.5M6 7l4-4 4 4M3.5 12v4.5h13V12",
  close: "M5 5l10 10M15 5L5 15",
  window: "M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14",
  pan: "M10 2.5v15M2.5 10h15M10 2.5L8 4.5M10 2.5l2 2M10 17.5l-2-2M10 17.5l2-2M2.5 10l2-2M2.5 10l2 2M17.5 10l-2-2M17.5 10l-2 2",
  zoom: "M9 3.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11M13 13l4 4M6.5 9h5M9 6.5v5",
  scroll: "M10 3v14M7 6l3-3 3 3M7 14l3 3 3-3",
  crosshair: "M10 2.5v5M10 12.5v5M2.5 10h5M12.5 10h5",
  length: "M4 16L16 4M2.5 14.5l3 3M14.5 2.5l3 3",
  angle: "M15.5 4L4 15.5h13M9.5 10a7 7 0 0 1 2 5.5",
  ellipse: "M10 5c4.4 0 7.5 2 7.5 5s-3.1 5-7.5 5-7.5-2-7.5-5 3.1-5 7.5-5",
  rectangle: "M3.5 5h13v10h-13z",
  probe: "M16.8 3.2a2 2 0 0 0-2.9 0l-2.2 2.3-1-1-1.5 1.5 4.8 4.8 1.5-1.5-1-1 2.3-2.2a2 2 0 0 0 0-2.9M10.6 7.4l-6.2 6.2-.9 2.9 2.9-.9 6.2-6.2",
  raw: "M3 6c1.2-2.4 2.3-2.4 3.5 0s2.3 2.4 3.5 0 2.3-2.4 3.5 0 2.3 2.4 3.5 0M3 11c1.2-2.4 2.3-2.4 3.5 0s2.3 2.4 3.5 0 2.3-2.4 3.5 0 2.3 2.4 3.5 0M3 16c1.2-2.4 2.3-2.4 3.5 0s2.3 2.4 3.5 0 2.3-2.4 3.5 0 2.3 2.4 3.5 0",
  document: "M5 2.5h7l3.5 3.5v11.5H5zM12 2.5V6h3.5M7.5 10h5.5M7.5 13h5.5",
  invert: "M3.5 3.5h13v13h-13zM16.5 3.5l-13 13M13 16.5v-3.2M15 16.5v-5M10.5 16.5v-1",
  fliph: "M10 3v14M8 6L3 14h5zM12 6l5 8h-5z",
  flipv: "M3 10h14M6 8l8-5v5zM6 12l8 5v-5z",
  rotate: "M15.5 8A6 6 0 1 0 16 11M16 3.5V8h-4.5",
  reset: "M4.5 8A6 6 0 1 1 4 11M4 3.5V8h4.5",
  play: "M6 4l10 6-10 6z",
  pause: "M6.5 4v12M13.5 4v12",
  one: "M3.5 4h13v12h-13z",
  two: "M3.5 4h13v12h-13zM10 4v12",
  four: "M3.5 4h13v12h-13zM10 4v12M3.5 10h13",
  mpr: "M3.5 4h13v12h-13zM10.5 4v12M10.5 10h6",
  volume: "M10 2.5l6.5 3.7v7.6L10 17.5l-6.5-3.7V6.2zM3.5 6.2L10 10l6.5-3.8M10 10v7.5",
  compare: "M3.5 4h13v12h-13zM10 2v16M8 10H5.5M12 10h2.5",
  text: "M4 5h12M4 9h8M4 13h10",
  jobs: "M4 5.5h12M4 10h12M4 14.5h7",
  trash: "M4 6h12M8 6V4h4v2M5.5 6l.8 10.5h7.4L14.5 6",
  up: "M5.5 12l4.5-4.5 4.5 4.5",
  down: "M5.5 8l4.5 4.5L14.5 8",
  layers: "M10 3l7 4-7 4-7-4zM3 11l7 4 7-4",
};

export function Icon({ name }: { name: string }) {
  return (
    <svg className="glyph" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={PATHS[name] ?? PATHS["one"]} />
    </svg>
  );
}
