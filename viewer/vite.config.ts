import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// vtk.js reaches xmlbuilder2, which imports Node's `events` and `url`: without real modules behind
// these names the page dies when it runs, though it builds.
export default defineConfig({
  plugins: [react()],
  resolve: { alias: { events: "events/", url: "url/" } },
  worker: { format: "es" },
  build: {
    outDir: "../src/somascope/server/static",
    emptyOutDir: true,
    target: "es2022",
    chunkSizeWarningLimit: 6000,
  },
  server: {
    proxy: { "/dicom-web": "http://127.0.0.1:8742", "/api": "http://127.0.0.1:8742" },
  },
});
