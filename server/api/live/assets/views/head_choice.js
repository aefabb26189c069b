// With whose labels to answer: the model's own, or those of a head. Hidden where no head is served.
import { element } from "../parts/dom.js";
import { getJson } from "../client/service.js";

const OWN = "The model's own actions";

export class HeadChoice {
  // `changed()` is called when another one was chosen.
  constructor(id, changed) {
    this.select = element("select", { id, onchange: changed });
    this.root = element("div", { class: "setting heads", hidden: true },
      element("label", { for: id, text: "Actions of" }), this.select);
  }

  // The name of the head; "" for the model itself.
  get head() {
    return this.select.value;
  }

  // Asks which heads are served now; what was chosen stays, unless it has gone.
  async refresh() {
    const { models: [model] } = await getJson("api/v1/models").catch(() => ({ models: [] }));
    if (!model) return;
    const chosen = this.head;
    const names = model.heads.map(({ name }) => name);
    const own = model.labels.length ? [element("option", { value: "", text: OWN })] : [];
    this.select.replaceChildren(...own, ...names.map((name) => element("option", { value: name, text: name })));
    if (names.includes(chosen)) this.select.value = chosen;
    this.root.hidden = !names.length;
  }
}
