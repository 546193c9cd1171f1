/** The frame around everything: title bar, the page, help, and the words that are always visible. */

import { Suspense, lazy, useEffect, useState } from "react";

import { type System, getSystem } from "./api/application";
import { Help } from "./parts/Help";
import { Icon } from "./parts/Icon";
import { JobsButton } from "./jobs/JobsButton";
import { go, isLive, studyOf, usePath } from "./router";
import { Worklist } from "./worklist/Worklist";

// The list is there at once; what draws pictures follows, and is made ready while the list is read.
const opening = () => import("./study/StudyScreen");
const StudyScreen = lazy(opening);
const LiveScreen = lazy(() => import("./live/LiveScreen").then((m) => ({ default: m.LiveScreen })));

export function App() {
  const path = usePath();
  const study = studyOf(path);
  const live = isLive(path);
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
    return () => {
      window.removeEventListener("keydown", onKey);
    };
  }, []);

  useEffect(() => {
    if (study || live) return;
    const timer = window.setTimeout(() => {
      void opening();
      void import("./viewport/ahead").then(({ warm }) => warm());
    }, 200);
    return () => window.clearTimeout(timer);
  }, [study, live]);

  return (
    <>
      <header className="titlebar">
        <button className="brand" onClick={() => go("/")} aria-label="Somascope, back to the worklist">
          <Icon name="mark" /> <b>Somascope</b>
        </button>
        {study || live ? (
          <button className="quiet" onClick={() => go("/")}>
            <Icon name="back" /> Worklist
          </button>
        ) : (
          <span className="dim">Worklist</span>
        )}
        {live && <span className="dim">Live</span>}
        <span className="grow" id="titlebar-slot" />
        <span className="notclinical" role="note">
          Not for clinical use
        </span>
        <JobsButton />
        <button className="icon" onClick={() => setHelp(true)} aria-label="Help and keyboard map" title="Help (?)">
          <Icon name="help" />
        </button>
      </header>
      <main>
        {study ? (
          <Suspense fallback={<div className="opening" role="status"><i className="spinner" /></div>}>
            <StudyScreen key={study} uid={study} />
          </Suspense>
        ) : live ? (
          <Suspense fallback={<div className="opening" role="status"><i className="spinner" /></div>}>
            <LiveScreen />
          </Suspense>
        ) : (
          <Worklist />
        )}
      </main>
      {help && <Help version={system?.version ?? ""} onClose={() => setHelp(false)} />}
    </>
  );
}
