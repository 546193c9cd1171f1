/** What the left mouse button does, under the names the toolbar and the keys use. */

import {
  AngleTool,
  CrosshairsTool,
  EllipticalROITool,
  LengthTool,
  PanTool,
  ProbeTool,
  RectangleROITool,
  StackScrollTool,
  WindowLevelTool,
  ZoomTool,
} from "@cornerstonejs/tools";

export interface ToolChoice {
  id: string;
  label: string;
  key: string;
  tool: string;
  measures?: boolean;
  only?: "mpr" | "drawing";
}

export const TOOLS: ToolChoice[] = [
  { id: "window", label: "Window", key: "w", tool: WindowLevelTool.toolName },
  { id: "pan", label: "Pan", key: "p", tool: PanTool.toolName },
  { id: "zoom", label: "Zoom", key: "z", tool: ZoomTool.toolName },
  { id: "scroll", label: "Scroll", key: "q", tool: StackScrollTool.toolName },
  { id: "crosshair", label: "Crosshair", key: "x", tool: CrosshairsTool.toolName, only: "mpr" },
  // No tool of Cornerstone: the pane draws itself while the left button is free.
  { id: "draw", label: "Draw", key: "t", tool: "", only: "drawing" },
  { id: "length", label: "Length", key: "l", tool: LengthTool.toolName, measures: true },
  { id: "angle", label: "Angle", key: "a", tool: AngleTool.toolName, measures: true },
  { id: "ellipse", label: "Ellipse", key: "e", tool: EllipticalROITool.toolName, measures: true },
  { id: "rectangle", label: "Rectangle", key: "b", tool: RectangleROITool.toolName, measures: true },
  { id: "probe", label: "Probe", key: "n", tool: ProbeTool.toolName, measures: true },
];
