import { createRoot } from "react-dom/client";

import { App } from "./App";
import "./styles/base.css";
import "./styles/worklist.css";
import "./styles/study.css";
import "./styles/panels.css";

const root = document.getElementById("root");
if (root) createRoot(root).render(<App />);
