/**
 * Values over a picture, drawn by the GPU: window, gamma, threshold, colours and marked values are
 * figures of its program, so that they change with the next picture of the display and ask nobody.
 */

import type { Values } from "./connection";

export interface Look {
  lower: number;
  upper: number;
  gamma: number;
  /** values below are clear; NaN always is */
  below: number;
  opacity: number;
  invert: boolean;
  /** values from and to are marked */
  marked: [number, number] | undefined;
}

export interface Picture {
  values: Values;
  rows: number;
  columns: number;
  channels: 1 | 3;
}

/** CSS pixels of the corners: first, end of the first row, end of the first column. */
export type Corners = [number, number][];

const VERTEX = `#version 300 es
uniform vec2 corner[3];
out vec2 at;
void main() {
  at = vec2(float(gl_VertexID & 1), float(gl_VertexID >> 1));
  vec2 p = corner[0] + at.x * (corner[1] - corner[0]) + at.y * (corner[2] - corner[0]);
  gl_Position = vec4(p, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D values;
uniform sampler2D colours;
uniform vec4 range;  // lower, upper, 1 / gamma, below
uniform vec4 how;    // opacity, invert, channels, marks
uniform vec2 marked;
in vec2 at;
out vec4 colour;
void main() {
  vec4 v = texture(values, at);
  vec3 c;
  float alpha = how.x;
  if (how.z > 2.0) {
    c = v.rgb;
  } else {
    if (isnan(v.r) || v.r < range.w) alpha = 0.0;
    float t = clamp((v.r - range.x) / max(range.y - range.x, 1e-30), 0.0, 1.0);
    if (range.z != 1.0) t = pow(t, range.z);
    if (how.y > 0.5) t = 1.0 - t;
    c = texture(colours, vec2((t * 255.0 + 0.5) / 256.0, 0.5)).rgb;
    if (how.w > 0.5 && v.r >= marked.x && v.r <= marked.y) {
      c = mix(c, vec3(1.0, 0.35, 0.75), 0.7);
      alpha = 1.0;
    }
  }
  colour = vec4(c * alpha, alpha);
}`;

export class Layer {
  private gl: WebGL2RenderingContext;
  private places: Record<string, WebGLUniformLocation | null> = {};
  private data: WebGLTexture;
  private palette: WebGLTexture;
  private smooth: boolean;
  private channels = 1;
  filled = false;

  constructor(readonly canvas: HTMLCanvasElement) {
    const gl = canvas.getContext("webgl2", { alpha: true, antialias: false, premultipliedAlpha: true });
    if (!gl) throw new Error("This browser has no WebGL2.");
    this.gl = gl;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
      const shader = gl.createShader(kind);
      if (!shader) throw new Error("The graphics program cannot be made.");
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      throw new Error(`The graphics program cannot be made: ${gl.getProgramInfoLog(program) ?? ""}`);
    }
    gl.useProgram(program);
    for (const name of ["corner", "values", "colours", "range", "how", "marked"]) {
      this.places[name] = gl.getUniformLocation(program, name);
    }
    gl.uniform1i(this.places["values"] ?? null, 0);
    gl.uniform1i(this.places["colours"] ?? null, 1);
    this.smooth = gl.getExtension("OES_texture_float_linear") !== null;
    this.data = this.texture(0, this.smooth);
    this.palette = this.texture(1, false);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  }

  private texture(unit: number, smooth: boolean): WebGLTexture {
    const { gl } = this;
    const made = gl.createTexture();
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, made);
    const how = smooth ? gl.LINEAR : gl.NEAREST;
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, how);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, how);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    return made;
  }

  fill({ values, rows, columns, channels }: Picture): void {
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.data);
    this.channels = channels;
    if (channels === 3) {
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, columns, rows, 0, gl.RGB, gl.UNSIGNED_BYTE, values as Uint8Array);
    } else {
      const floats = values instanceof Float32Array ? values : new Float32Array(values);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.R32F, columns, rows, 0, gl.RED, gl.FLOAT, floats);
    }
    this.filled = true;
  }

  /** 256 colours as little-endian RGBA words. */
  colour(table: Uint32Array): void {
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, this.palette);
    const bytes = new Uint8Array(table.buffer, table.byteOffset, table.byteLength);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
  }

  draw(corners: Corners, look: Look): void {
    const { gl, canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [canvas.clientWidth, canvas.clientHeight];
    const [width, height] = [Math.round(w * ratio), Math.round(h * ratio)];
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.filled || w === 0 || h === 0) return;
    const clip = corners.flatMap(([x, y]) => [(2 * x) / w - 1, 1 - (2 * y) / h]);
    gl.uniform2fv(this.places["corner"] ?? null, clip);
    gl.uniform4f(this.places["range"] ?? null, look.lower, look.upper, 1 / look.gamma, look.below);
    gl.uniform4f(
      this.places["how"] ?? null, look.opacity, look.invert ? 1 : 0, this.channels, look.marked ? 1 : 0,
    );
    gl.uniform2f(this.places["marked"] ?? null, ...(look.marked ?? [0, 0]));
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }

  clear(): void {
    this.gl.clearColor(0, 0, 0, 0);
    this.gl.clear(this.gl.COLOR_BUFFER_BIT);
  }

  /** Wait until what was drawn is there. */
  finish(): void {
    this.gl.finish();
  }

  free(): void {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
    this.canvas.remove();
  }
}
