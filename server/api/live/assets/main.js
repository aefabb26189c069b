// Shows the view that the address names, and what holds for all views: the state of the service, light or dark.
import { address, getJson } from "./client/service.js";
import { setText } from "./parts/dom.js";
import { TryView } from "./views/try.js";
import { CamerasView } from "./views/cameras.js";
import { ServiceView } from "./views/service.js";

const STATE_EVERY_MS = 5000;
const MODEL_EVERY_MS = 60000;
const THEME = "vjepa2-theme";
// The service has this endpoint where heads can be taught.
const TEACHING = "GET /api/v1/teaching";

// The code of this view is loaded when it is opened for the first time.
class LoadedView {
  constructor(root) {
    this.root = root;
  }

  async show() {
    this.isShown = true;
    const { ActionsView } = await import("./views/actions.js");
    this.view ??= new ActionsView(this.root);
    if (this.isShown) this.view.show();
  }

  hide() {
    this.isShown = false;
    this.view?.hide();
  }
}

const views = {
  try: new TryView(document.getElementById("view-try")),
  cameras: new CamerasView(document.getElementById("view-cameras")),
  actions: new LoadedView(document.getElementById("view-actions")),
  service: new ServiceView(document.getElementById("view-service")),
};
const known = { status: null, model: null, untilMs: 0 };
let shown = null;

function show() {
  const asked = location.hash.slice(1);
  if (asked === "main") return;
  const name = asked in views ? asked : "try";
  if (name === shown) return;
  if (shown) views[shown].hide();
  shown = name;
  for (const each of Object.keys(views)) document.getElementById(`view-${each}`).hidden = each !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${name[0].toUpperCase()}${name.slice(1)} - vjepa2-serve`;
  views[name].show();
}

async function tellState() {
  try {
    const { status } = await (await fetch(address("health"))).json();
    if (status !== known.status || Date.now() > known.untilMs) {
      const { model, endpoints } = await getJson("");
      document.getElementById("nav-actions").hidden = !endpoints.includes(TEACHING);
      Object.assign(known, { status, model, untilMs: Date.now() + MODEL_EVERY_MS });
    }
    showState(status, known.model ? `${status}: ${known.model.name}` : status);
  } catch {
    known.status = null;
    showState("unreachable", "The service does not answer");
  }
  setTimeout(tellState, STATE_EVERY_MS);
}

function showState(state, text) {
  const place = document.getElementById("state");
  place.dataset.state = state;
  setText(place, text);
}

function changeTheme() {
  const isDark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  setTheme(isDark ? "light" : "dark");
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem(THEME, theme);
  dispatchEvent(new Event("theme"));
}

if (localStorage.getItem(THEME)) setTheme(localStorage.getItem(THEME));
document.getElementById("theme").addEventListener("click", changeTheme);
addEventListener("hashchange", show);
show();
tellState();
