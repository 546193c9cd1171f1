/** The help page: what the mouse does, what the keys do. */

import { useEffect, useRef } from "react";

import { KEYS } from "../study/keys";
import { Icon } from "./Icon";

export function Help({ version, onClose }: { version: string; onClose: () => void }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => box.current?.focus(), []);
  return (
    <div className="veil" onClick={onClose}>
      <div
        className="help"
        role="dialog"
        aria-modal="true"
        aria-label="Help and keyboard map"
        tabIndex={-1}
        ref={box}
        onClick={(e) => e.stopPropagation()}
      >
        <header>
          <h1>Help</h1>
          <button className="icon" onClick={onClose} aria-label="Close help">
            <Icon name="close" />
          </button>
        </header>
        <div className="help-columns">
          {KEYS.map((section) => (
            <section key={section.title}>
              <h2>{section.title}</h2>
              <dl>
                {section.keys.map(([key, what]) => (
                  <div key={key}>
                    <dt>
                      {key.split(" ").map((k) => (
                        <kbd key={k}>{k}</kbd>
                      ))}
                    </dt>
                    <dd>{what}</dd>
                  </div>
                ))}
              </dl>
            </section>
          ))}
        </div>
        <footer>
          Somascope {version} is research software. It is not a medical device: not for clinical use.
          Numbers are in the image's own unit; distances are millimetres in the patient (LPS).
        </footer>
      </div>
    </div>
  );
}
