/** The list of studies: search, filter, sort, upload, live arrival. */

import { useCallback, useEffect, useMemo, useRef, useState } from "react";

import { type StudyRow, searchStudies } from "../api/dicomweb";
import { listen } from "../api/events";
import { droppedFiles } from "../api/upload";
import { says } from "../api/http";
import { Icon } from "../parts/Icon";
import { go } from "../router";
import { Filters, type Filter } from "./Filters";
import { type Order, StudyTable, compareBy } from "./StudyTable";
import { Uploads, useUploads } from "./Uploads";

const PAGE = 200;

export function Worklist() {
  const [rows, setRows] = useState<StudyRow[]>();
  const [error, setError] = useState("");
  const [filter, setFilter] = useState<Filter>({ text: "", modality: "", from: "", to: "" });
  const [order, setOrder] = useState<Order>({ by: "date", down: true });
  const [limit, setLimit] = useState(PAGE);
  const [fresh, setFresh] = useState<ReadonlySet<string>>(new Set());
  const [over, setOver] = useState(false);
  const known = useRef<Set<string> | undefined>(undefined);
  const picker = useRef<HTMLInputElement>(null);

  const load = useCallback(
    async (signal?: AbortSignal) => {
      try {
        const found = await searchStudies({ ...filter, limit }, signal);
        const before = known.current;
        if (before) {
          const arrived = found.map((r) => r.uid).filter((uid) => !before.has(uid));
          if (arrived.length > 0) setFresh((set) => new Set([...set, ...arrived]));
        }
        known.current = new Set([...(before ?? []), ...found.map((r) => r.uid)]);
        setRows(found);
        setError("");
      } catch (e) {
        if (e instanceof DOMException && e.name === "AbortError") return;
        setError(says(e));
      }
    },
    [filter, limit],
  );

  useEffect(() => {
    const abort = new AbortController();
    const timer = window.setTimeout(() => void load(abort.signal), filter.text ? 180 : 0);
    return () => {
      window.clearTimeout(timer);
      abort.abort();
    };
  }, [load, filter.text]);

  useEffect(() => {
    let timer = 0;
    const soon = () => {
      timer ||= window.setTimeout(() => {
        timer = 0;
        void load();
      }, 400);
    };
    const stops = [listen("archive", soon), listen("resync", soon)];
    return () => {
      for (const stop of stops) stop();
      window.clearTimeout(timer);
    };
  }, [load]);

  const { uploads, send, clear } = useUploads(() => void load());
  const sorted = useMemo(() => rows && [...rows].sort(compareBy(order)), [rows, order]);
  const filtered = Boolean(filter.text || filter.modality || filter.from || filter.to);

  return (
    <div
      className={`worklist ${over ? "dropping" : ""}`}
      onDragOver={(e) => {
        e.preventDefault();
        setOver(true);
      }}
      onDragLeave={(e) => {
        if (e.currentTarget === e.target) setOver(false);
      }}
      onDrop={(e) => {
        e.preventDefault();
        setOver(false);
        void droppedFiles(e.dataTransfer).then(send);
      }}
    >
      <div className="worklist-bar">
        <Filters value={filter} onChange={setFilter} />
        <span className="grow" />
        <span className="dim count" aria-live="polite">
          {rows ? `${rows.length}${rows.length >= limit ? "+" : ""} studies` : ""}
        </span>
        <button onClick={() => go("/live")} title="Live pictures through a chain of operations">
          <Icon name="play" /> Live
        </button>
        <button className="primary" onClick={() => picker.current?.click()}>
          <Icon name="upload" /> Add images
        </button>
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          aria-label="Files to add"
          onChange={(e) => {
            send([...(e.target.files ?? [])]);
            e.target.value = "";
          }}
        />
      </div>
      {error && (
        <div className="banner" role="alert">
          <strong>The list could not be read.</strong> {error}
          <button className="quiet" onClick={() => void load()}>
            Try again
          </button>
        </div>
      )}
      <div className="table-box">
        {!rows && !error && <Skeleton />}
        {sorted && sorted.length > 0 && (
          <StudyTable
            rows={sorted}
            order={order}
            onOrder={setOrder}
            fresh={fresh}
            onOpen={(uid) => go(`/study/${uid}`)}
          />
        )}
        {sorted?.length === 0 && (
          <div className="empty">
            <Icon name={filtered ? "search" : "upload"} />
            <h2>{filtered ? "No study matches" : "The archive is empty"}</h2>
            <p>
              {filtered
                ? "Change the search, the modality or the dates."
                : "Drop a folder, DICOM files, a ZIP or a NIfTI file here; or send images by C-STORE."}
            </p>
            {filtered && (
              <button onClick={() => setFilter({ text: "", modality: "", from: "", to: "" })}>
                Clear all filters
              </button>
            )}
          </div>
        )}
        {rows && rows.length >= limit && (
          <button className="more" onClick={() => setLimit(limit + PAGE)}>
            Show more
          </button>
        )}
      </div>
      <Uploads uploads={uploads} onClear={clear} />
      {over && (
        <div className="dropzone" aria-hidden="true">
          <Icon name="upload" />
          <strong>Drop to add to the archive</strong>
          <span>Folders, DICOM, ZIP, NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF</span>
        </div>
      )}
    </div>
  );
}

function Skeleton() {
  return (
    <div className="skeleton" role="status" aria-label="Loading the list">
      {Array.from({ length: 12 }, (_, i) => (
        <i key={i} />
      ))}
    </div>
  );
}
