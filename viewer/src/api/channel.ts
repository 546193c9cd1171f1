/** A WebSocket of the server's: JSON text both ways; binary messages are a length, JSON and values. */

export abstract class Channel<Head> {
  private socket: WebSocket;
  private timers: number[] = [];
  private done = false;

  constructor(path: string) {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}${path}`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) => this.heard(event.data);
    this.socket.onclose = (event) => this.end(event.reason);
    this.socket.onerror = () => this.end("the connection to the server failed");
    this.socket.onopen = () => this.opened();
  }

  send(message: object): void {
    const text = JSON.stringify(message);
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(text);
    else if (this.socket.readyState === WebSocket.CONNECTING) {
      this.socket.addEventListener("open", () => this.socket.send(text), { once: true });
    }
  }

  close(): void {
    this.finish();
    this.socket.close();
  }

  /** The line stands. */
  protected abstract opened(): void;
  /** A JSON message. */
  protected abstract said(message: { kind: string } & Record<string, unknown>): void;
  /** A binary message; its values begin at this byte. */
  protected abstract given(head: Head, data: ArrayBuffer, at: number): void;
  /** The server closed it, or it broke; not after `close`. */
  protected abstract closed(reason: string): void;

  /** Say something again and again until the end. */
  protected beat(ms: number, say: () => void): void {
    this.timers.push(window.setInterval(say, ms));
  }

  protected end(reason: string): void {
    if (this.done) return;
    this.finish();
    this.closed(reason || "the server closed the connection");
  }

  private finish(): void {
    this.done = true;
    for (const timer of this.timers) window.clearInterval(timer);
  }

  private heard(data: string | ArrayBuffer): void {
    if (this.done) return;
    if (typeof data === "string") {
      this.said(JSON.parse(data) as { kind: string } & Record<string, unknown>);
      return;
    }
    const length = new DataView(data).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length))) as Head;
    this.given(head, data, 4 + length);
  }
}
