// What is stored: as a table, as pictures, and one entry with all about it.
import { get, post } from "./api.js";
import { cells, clock, cosine, field, h, input, number, numeric, picture, promptCell, say, select, table, values } from "./dom.js";
import { row as requestRow } from "./requests.js";

const HEADS = ["Entry", "Prompt", "Operation", "Model", "Namespace", "Outputs", "Made"];

export async function entries({ query }) { return listing(query, asTable, {}, 50); }
export async function gallery({ query }) { return listing(query, asGallery, { operation: "images" }, 48); }

async function listing(query, draw, always, limit) {
  const list = h("div", {});
  const more = h("button", { type: "button", hidden: true, onclick: () => load(true) }, "Show more");
  const day = 86400;
  const form = h("form", { class: "filters", role: "search", onsubmit: (event) => { event.preventDefault(); load(false).catch((error) => say(error.message)); } },
    field("Words", input("text", { placeholder: "fox sno*", value: query.get("text") || "" })),
    field("Like this prompt", input("similar_to", { value: query.get("similar_to") || "" })),
    field("Similarity", input("similarity", { type: "number", min: 0, max: 1, step: 0.01, placeholder: "0.92" })),
    always.operation ? null : field("Operation", select("operation", [["", "all"], ["images", "images"], ["chat", "chat"]])),
    field("Namespace", input("namespace")), field("Model", input("model")), field("Tag", input("tag")),
    field("Age", select("age", [["", "any"], [`newer_than=${day}`, "last day"], [`newer_than=${7 * day}`, "last week"], [`older_than=${30 * day}`, "over 30 days"]])),
    h("button", { class: "main" }, "Search"));
  let found = [];
  let next = null;
  async function load(further) {
    const { age, ...wanted } = values(form);
    if (age) Object.assign(wanted, Object.fromEntries([age.split("=")]));
    if (!wanted.similar_to) delete wanted.similarity;
    const answer = await get("/admin/entries", { ...always, ...wanted, limit, after: further ? next : null });
    found = further ? [...found, ...answer.entries] : answer.entries;
    next = answer.next;
    more.hidden = next === null;
    list.replaceChildren(draw(found));
    say(`${number(found.length)} entries${next === null ? "" : ", and more"}`);
  }
  await load(false);
  return [form, list, h("div", { class: "row" }, more)];
}

function asTable(found) {
  return table("Entries", HEADS, found.map((one) => h("tr", {}, cells(
    h("td", {}, h("a", { href: `#/entries/${one.id}` }, String(one.id)), one.state === "live" ? null : h("span", { class: "badge bad" }, one.state)),
    promptCell([one.prompt.slice(0, 200), one.similarity === undefined ? null : h("span", { class: "quiet" }, ` ${cosine(one.similarity)}`)]),
    one.operation, one.model, one.namespace, numeric(number(one.outputs)), clock(one.created_at)))), "No entry fits.");
}

export function asGallery(found) {
  const shown = found.filter((one) => one.blob);
  if (!shown.length) return h("p", { class: "quiet" }, "No picture fits.");
  return h("ul", { class: "gallery" }, shown.map((one) => h("li", {}, h("a", { href: `#/entries/${one.id}` },
    picture(one.blob, ""), h("p", {}, one.prompt.slice(0, 90), one.similarity === undefined ? null : ` (${cosine(one.similarity)})`)))));
}

export async function entry({ id, session }) {
  const one = await get(`/admin/entries/${encodeURIComponent(id)}`);
  const result = h("span", { role: "status" });
  const pictures = one.stored_outputs.filter((output) => output.blob).map((output, position) => {
    const shown = picture(output.blob, `Output ${position + 1} of: ${one.prompt.slice(0, 120)}`);
    shown.className = "picture";
    return shown;
  });
  const texts = one.stored_outputs.filter((output) => !output.blob).map((output) =>
    h("pre", { tabindex: "0" }, output.item?.choices?.[0]?.message?.content ?? JSON.stringify(output.item, null, 2)));
  return [
    h("div", { class: "pair" }, h("div", {}, h("h2", {}, "Prompt"), h("p", {}, one.prompt))),
    h("div", { class: "row" }, pictures), texts,
    session.role === "admin" && h("div", { class: "row" }, h("button", { type: "button", class: "danger", onclick: deleteIt }, "Delete this entry"), result),
    one.neighbours.length > 0 && [h("h2", {}, "Similar entries"), one.neighbours.some((near) => near.blob) ? asGallery(one.neighbours) : asTable(one.neighbours)],
    h("h2", {}, "Facts"),
    table("Facts", ["Fact", "Value"], [
      ["State", one.state], ["Operation", one.operation], ["Asked model", one.model ?? "–"], ["Really made", JSON.stringify(one.made)], ["Namespace", one.namespace],
      ["Client", one.client], ["Made", clock(one.created_at)], ["Fresh until", one.expires_at === null ? "for ever" : clock(one.expires_at)],
      ["Found", one.exact_only ? "exactly only" : "exactly and by meaning"], ["Tags", one.tags.join(", ") || "–"], ["Upstream", one.upstream_group], ["Key", one.key],
    ].map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "prompt" }, value)))),
    h("h2", {}, "Decisions it had a part in"),
    table("Requests that had to do with it", ["Time", "Decision", "Why", "Prompt", "Similarity", "Took", "Saved", "Client"], one.requests.map(requestRow), "None that this process remembers."),
    table("Recorded semantic hits", ["Time", "Request", "Similarity", "Side"], one.hits.map((hit) => h("tr", {}, cells(
      clock(hit.at), hit.request_id, numeric(cosine(hit.similarity)), hit.stored_key === one.key ? "it answered" : "it was asked"))), "No semantic hit on record."),
  ];

  async function deleteIt() {
    if (!confirm("Delete this entry and its outputs?")) return;
    try {
      const { count } = await post("/admin/purge", { key: one.key });
      result.textContent = count ? "Deleted." : "It was gone already.";
    } catch (error) { result.textContent = error.message; }
  }
}
