// What fires, what operators did, and what is set.
import { get, post } from "./api.js";
import { cells, clock, cosine, field, h, input, number, numeric, promptCell, say, table } from "./dom.js";

export async function alerts({ session }) {
  const [{ alerts: firing }, judged] = await Promise.all([get("/admin/alerts"), get("/admin/feedback", { limit: 100 })]);
  return [
    table("Alerts", ["Alert", "Severity", "What", "Value", "Threshold", "Since"], firing.map((one) => h("tr", {}, cells(
      one.name, h("span", { class: `badge ${one.severity === "critical" ? "bad" : ""}` }, one.severity), promptCell(one.text), numeric(number(one.value, 3)),
      numeric(number(one.threshold, 3)), clock(one.since)))), "Nothing fires."),
    h("h2", {}, "Feedback"),
    table("Feedback", ["Time", "Verdict", "Asked", "Answered by", "Similarity", "Client", "Undo"], judged.feedback.map((one) => h("tr", {}, cells(
      clock(one.at), h("span", { class: `badge ${one.verdict === "wrong" ? "bad" : "good"}` }, one.undone ? `${one.verdict}, undone` : one.verdict),
      promptCell(one.asked_prompt ?? one.asked_key), promptCell(one.stored_prompt ?? one.stored_key), numeric(cosine(one.similarity)), `${one.namespace} / ${one.client}`,
      one.undone || session.role !== "admin" ? "" : h("button", { type: "button", "aria-label": `Take back verdict ${one.id}`, onclick: (event) => undo(event, one.id) }, "Take back")))), "No verdicts yet."),
    judged.trust.length > 0 && table("Thresholds by feedback", ["Namespace", "Operation", "Wrong", "Right", "Threshold"], judged.trust.map((one) => h("tr", {}, cells(
      one.namespace, one.operation, numeric(number(one.wrong, 1)), numeric(number(one.right, 1)), numeric(cosine(one.threshold)))))),
  ];

  async function undo(event, id) {
    event.target.disabled = true;
    await post(`/admin/feedback/${id}/undo`).then(() => say("Taken back."), (error) => say(error.message));
  }
}

export async function audit() {
  const list = h("div", {});
  const more = h("button", { type: "button", onclick: () => load() }, "Show more");
  let acts = [];
  let before = null;
  async function load() {
    const page = await get("/admin/audit", { limit: 100, before });
    acts = [...acts, ...page.acts];
    before = page.next;
    more.hidden = before === null;
    list.replaceChildren(table("Audit log", ["Time", "Who", "Did", "What", "How many"], acts.map((act) => h("tr", {}, cells(
      clock(act.at), act.who, act.action, promptCell(Object.entries(act.what).map(([name, value]) => `${name}: ${value}`).join(", ")), numeric(number(act.count)))))));
  }
  await load();
  return [list, h("div", { class: "row" }, more)];
}

export async function settings() {
  const { settings: all } = await get("/admin/settings");
  const list = h("div", {});
  const wanted = input("filter", { type: "search", oninput: draw });
  function draw() {
    const text = wanted.value.toLowerCase();
    const rows = all.filter((one) => one.name.includes(text) || one.meaning.toLowerCase().includes(text)).map((one) =>
      h("tr", {}, h("th", { scope: "row" }, one.name), h("td", { class: "prompt" }, JSON.stringify(one.value)), promptCell(one.meaning)));
    list.replaceChildren(table("Settings", ["Setting", "Value", "Meaning"], rows, "No setting fits."));
  }
  draw();
  return [h("p", { class: "quiet" }, "Secrets are masked. Settings are changed in the environment or the TOML file."), h("div", { class: "filters row" }, field("Find", wanted)), list];
}
