// "This was wrong" beside a camera's answer: what it has just shown becomes an example of what it really was.
import { addFromStream, overview } from "../client/teaching.js";
import { element, setText } from "../parts/dom.js";

export class Correction {
  static async of(session) {
    const { teaching } = await overview().catch(() => ({ teaching: [] }));
    return new Correction(session, teaching);
  }

  constructor(session, teaching) {
    this.session = session;
    this.choices = teaching.flatMap(({ name, actions }) => actions.map((action) => [name, action.name]));
    this.select = element("select", { id: "correction" },
      ...this.choices.map(([head, action], index) => element("option", { value: index, text: `${action} (${head})` })));
    this.told = element("p", { class: "small", role: "status" });
    this.root = element("div", { class: "correction" },
      element("label", { for: "correction", text: "This was wrong. It was" }), this.select,
      element("button", { type: "button", text: "Add it as an example", onclick: () => this.add() }), this.told);
    this.root.hidden = !this.choices.length;
  }

  async add() {
    const [head, action] = this.choices[this.select.value];
    try {
      await addFromStream(head, action, this.session);
      setText(this.told, `The last window is an example of “${action}” now. Teach ${head} again in the view Actions.`);
    } catch (error) {
      setText(this.told, error.message);
    }
  }
}
