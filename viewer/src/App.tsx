/** The frame around everything: title bar, the page, help, and the words that are always visible. */

import { useEffect, useState } from "react";

import { type System, getSystem } from "./api/application";
import { Help } from "./parts/Help";
import { Icon } from "./parts/Icon";
import { JobsButton } from "./jobs/JobsButton";
import { go, studyOf, usePath } from "./router";
import { StudyScreen } from "./study/StudyScreen";
import { held } from "./viewport/engine";
import { Worklist } from "./worklist/Worklist";

// What the tests and a support engineer read in the console: nothing can be changed through it.
(window as unknown as { somascope: unknown }).somascope = { held };

export function App() {
  const path = usePath();
  const study = studyOf(path);
  const [help, setHelp] = useState(false);
  const [system, setSystem] = useState<System>();

  useEffect(() => {
    getSystem().then(setSystem, () => undefined);
    const onKey = (event: KeyboardEvent) => {
      const typing = event.target instanceof Element && event.target.closest("input,textarea,select");
      if (event.key === "?" && !typing) setHelp((shown) => !shown);
      if (event.key === "Escape") setHelp(false);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);

  return (
    <>
      <header className="titlebar">
        <button className="brand" onClick={() => go("/")} aria-label="Somascope, back to the worklist">
          <Icon name="mark" /> <b>Somascope</b>
        </button>
        {study ? (
          <button className="quiet" onClick={() => go("/")}>
            <Icon name="back" /> Worklist
          </button>
        ) : (
          <span className="dim">Worklist</span>
        )}
        <span className="grow" id="titlebar-slot" />
        <span className="notclinical" role="note">
          Not for clinical use
        </span>
        <JobsButton />
        <button className="icon" onClick={() => setHelp(true)} aria-label="Help and keyboard map" title="Help (?)">
          <Icon name="help" />
        </button>
      </header>
      <main>{study ? <StudyScreen key={study} uid={study} /> : <Worklist />}</main>
      {help && <Help version={system?.version ?? ""} onClose={() => setHelp(false)} />}
    </>
  );
}
