/** The jobs of this server, behind one button in the title bar. */

import { useEffect, useState } from "react";

import { Icon } from "../parts/Icon";
import { JobList } from "./JobList";
import { useJobs } from "./store";

export function JobsButton() {
  const jobs = useJobs();
  const [open, setOpen] = useState(false);
  const busy = jobs.filter((j) => j.state === "running" || j.state === "queued").length;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const typing = event.target instanceof Element && event.target.closest("input,textarea,select");
      if (event.key === "j" && !typing && !event.ctrlKey && !event.metaKey) setOpen((o) => !o);
      if (event.key === "Escape") setOpen(false);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
  return (
    <>
      <button
        className={`quiet ${busy > 0 ? "busy" : ""}`}
        aria-expanded={open}
        onClick={() => setOpen(!open)}
        title="Jobs (j)"
      >
        <Icon name="jobs" /> Jobs{busy > 0 ? ` ${busy}` : ""}
      </button>
      {open && (
        <aside className="drawer" aria-label="Jobs">
          <header>
            <h2>Jobs</h2>
            <button className="icon" onClick={() => setOpen(false)} aria-label="Close jobs">
              <Icon name="close" />
            </button>
          </header>
          <JobList jobs={jobs} empty="Nothing has been run yet. Open a study and choose an operation." />
        </aside>
      )}
    </>
  );
}
