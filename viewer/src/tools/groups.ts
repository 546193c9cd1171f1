/** Tool groups: left is chosen, middle pans, right zooms, the wheel scrolls (what readers expect). */

import {
  AngleTool,
  CrosshairsTool,
  EllipticalROITool,
  Enums,
  LengthTool,
  PanTool,
  ProbeTool,
  RectangleROITool,
  StackScrollTool,
  ToolGroupManager,
  TrackballRotateTool,
  WindowLevelTool,
  ZoomTool,
  addTool,
  annotation,
} from "@cornerstonejs/tools";

import { roiLines } from "./lines";
import { TOOLS } from "./names";
import { probeLines } from "./probe";

export type Group = "stack" | "mpr" | "volume";
export const GROUPS: Group[] = ["stack", "mpr", "volume"];

const { MouseBindings, KeyboardBindings } = Enums;
const PLANES: Record<string, string> = {
  axial: "rgb(226, 96, 96)",
  sagittal: "rgb(232, 196, 84)",
  coronal: "rgb(104, 196, 120)",
};
const ALL = [
  AngleTool,
  CrosshairsTool,
  EllipticalROITool,
  LengthTool,
  PanTool,
  ProbeTool,
  RectangleROITool,
  StackScrollTool,
  TrackballRotateTool,
  WindowLevelTool,
  ZoomTool,
];

const chosen: Record<Group, string> = {
  stack: WindowLevelTool.toolName,
  mpr: WindowLevelTool.toolName,
  volume: TrackballRotateTool.toolName,
};

export function planeColour(viewportId: string): string {
  const plane = viewportId.split("-").at(-1) ?? "";
  return PLANES[plane] ?? "rgb(120, 160, 200)";
}

export function registerTools(): void {
  for (const tool of ALL) addTool(tool);
  const before = annotation.config.style.getDefaultToolStyles();
  annotation.config.style.setDefaultToolStyles({
    ...before,
    global: {
      ...before["global"],
      color: "rgb(255, 214, 102)",
      colorHighlighted: "rgb(255, 236, 170)",
      colorSelected: "rgb(124, 214, 236)",
      lineWidth: "1.5",
      textBoxFontFamily: "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif",
      textBoxFontSize: "13px",
      textBoxColor: "rgb(255, 224, 140)",
      textBoxColorHighlighted: "rgb(255, 240, 190)",
      textBoxColorSelected: "rgb(160, 226, 242)",
      textBoxLinkLineWidth: "1",
      textBoxLinkLineDash: "2,3",
    },
  });
}

export function createGroups(engineId: string): void {
  for (const id of GROUPS) {
    if (ToolGroupManager.getToolGroup(id)) continue;
    const group = ToolGroupManager.createToolGroup(id);
    if (!group) continue;
    const wheel = { mouseButton: MouseBindings.Wheel };
    for (const name of [WindowLevelTool.toolName, PanTool.toolName, ZoomTool.toolName]) {
      group.addTool(name);
    }
    if (id === "volume") {
      group.addTool(TrackballRotateTool.toolName);
      group.setToolActive(ZoomTool.toolName, {
        bindings: [{ mouseButton: MouseBindings.Secondary }, wheel],
      });
    } else {
      group.addTool(StackScrollTool.toolName);
      group.addTool(LengthTool.toolName);
      group.addTool(AngleTool.toolName);
      group.addTool(ProbeTool.toolName, { getTextLines: probeLines });
      group.addTool(EllipticalROITool.toolName, { getTextLines: roiLines });
      group.addTool(RectangleROITool.toolName, { getTextLines: roiLines });
      group.setToolActive(StackScrollTool.toolName, { bindings: [wheel] });
      group.setToolActive(ZoomTool.toolName, {
        bindings: [{ mouseButton: MouseBindings.Secondary }],
      });
    }
    if (id === "mpr") {
      group.addTool(CrosshairsTool.toolName, {
        getReferenceLineColor: planeColour,
        getReferenceLineControllable: () => true,
        getReferenceLineDraggableRotatable: () => true,
        getReferenceLineSlabThicknessControlsOn: () => false,
        handleRadius: 4,
      });
    }
    group.setToolActive(PanTool.toolName, {
      bindings: [
        { mouseButton: MouseBindings.Auxiliary },
        { mouseButton: MouseBindings.Primary, modifierKey: KeyboardBindings.Ctrl },
      ],
    });
    activate(id, chosen[id]);
  }
  void engineId;
}

export function destroyGroups(): void {
  for (const id of GROUPS) ToolGroupManager.destroyToolGroup(id);
}

function activate(id: Group, name: string): void {
  const group = ToolGroupManager.getToolGroup(id);
  if (!group?.hasTool(name)) return;
  group.setToolActive(name, { bindings: [{ mouseButton: MouseBindings.Primary }] });
}

/** Give the left button to a tool by our name; `volume` panes keep rotating unless told otherwise. */
export function choose(id: string, showCrosshair: boolean): void {
  const name = TOOLS.find((t) => t.id === id)?.tool ?? WindowLevelTool.toolName;
  for (const groupId of GROUPS) {
    const group = ToolGroupManager.getToolGroup(groupId);
    if (!group) continue;
    const next = groupId === "volume" && !["pan", "zoom", "window"].includes(id)
      ? TrackballRotateTool.toolName
      : name;
    const before = chosen[groupId];
    if (before !== next && group.hasTool(before)) {
      group.setToolPassive(before, {
        removeAllBindings: [{ mouseButton: MouseBindings.Primary }],
      });
    }
    chosen[groupId] = next;
    activate(groupId, next);
  }
  const mpr = ToolGroupManager.getToolGroup("mpr");
  const ready = (mpr?.getViewportIds().length ?? 0) > 1;
  if (mpr && id !== "crosshair" && ready) {
    if (showCrosshair) mpr.setToolEnabled(CrosshairsTool.toolName);
    else mpr.setToolDisabled(CrosshairsTool.toolName);
  }
}

export function join(group: Group, viewportId: string, engineId: string): void {
  ToolGroupManager.getToolGroup(group)?.addViewport(viewportId, engineId);
}

export function leave(group: Group, viewportId: string, engineId: string): void {
  ToolGroupManager.getToolGroup(group)?.removeViewports(engineId, viewportId);
}
