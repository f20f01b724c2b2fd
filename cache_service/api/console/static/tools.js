// Things to do: send a prompt and see its steps, purge with a count before, and see what another threshold would change.
import { get, post } from "./api.js";
import { cells, cosine, count, field, h, input, number, numeric, promptCell, seconds, select, table, usd, values } from "./dom.js";
import * as labels from "./labels.js";
import { decision, steps, why } from "./requests.js";

export async function playground({ session }) {
  if (session.role !== "admin") return h("p", {}, "A viewer's key may send nothing.");
  const prompt = h("textarea", { name: "prompt", required: true });
  const out = h("div", { role: "status" });
  const send = h("button", { class: "main" }, "Send");
  const form = h("form", { onsubmit: play }, field("Prompt", prompt), h("div", { class: "filters row" },
    field("Operation", select("operation", [["images", "images"], ["chat", "chat"]])),
    field("Model", input("model", { placeholder: "the upstream's default" })), field("Namespace", input("namespace", { placeholder: "default" })), send),
    h("p", { class: "quiet" }, "It goes the way of any request: what isn't stored is generated, and costs what it costs."));
  return [form, out];

  async function play(event) {
    event.preventDefault();
    const { prompt: text, operation, model, namespace } = values(form);
    const asked = operation === "chat" ? { messages: [{ role: "user", content: text }] } : { prompt: text };
    if (model) asked.model = model;
    send.disabled = true;
    out.replaceChildren(h("p", {}, "Waiting for the answer …"));
    try {
      const played = await post("/admin/playground", { operation, request: asked, ...(namespace ? { namespace } : {}) });
      const seen = await get(`/admin/requests/${encodeURIComponent(played.request_id)}`).catch(() => null);
      const about = seen ? await why(seen, session) : [h("p", {}, decision(played.cache)), steps(played)];
      out.replaceChildren(h("h2", {}, "Answer"), h("p", {}, `after ${seconds(played.seconds)}, paid ${usd(played.cache.usd)}, saved ${usd(played.cache.saved_usd)}`),
        ...answered(played.response, text), ...[about].flat(Infinity).filter(Boolean));
    } catch (error) { out.replaceChildren(h("p", { class: "notice bad" }, error.message)); }
    send.disabled = false;
  }
}

function answered(response, prompt) {
  const pictures = (response.data || []).filter((one) => one.b64_json).map((one, position) => h("img", {
    class: "picture", alt: `Picture ${position + 1} of: ${prompt.slice(0, 120)}`, src: `data:${kindOf(one.b64_json)};base64,${one.b64_json}` }));
  if (pictures.length) return [h("div", { class: "row" }, pictures)];
  return [h("pre", { tabindex: "0" }, response.choices?.[0]?.message?.content ?? JSON.stringify(response, null, 2))];
}

const kindOf = (text) => ({ i: "image/png", "/": "image/jpeg", U: "image/webp", R: "image/gif" })[text[0]] || "image/png";

const NAMED = [["prompt", "This very prompt"], ["similar_to", "Prompts like"], ["tag", "Tag"], ["namespace", "Namespace"], ["model", "Model"], ["key", "Key"]];

export async function purge({ session }) {
  const out = h("div", { role: "status" });
  const form = h("form", { class: "filters", onsubmit: ask, oninput: () => out.replaceChildren() }, NAMED.map(([name, title]) => field(title, input(name))),
    field("Least similarity", input("similarity", { type: "number", min: 0, max: 1, step: 0.01, placeholder: "0.92" })),
    field("Operation", select("operation", [["", "any"], ["images", "images"], ["chat", "chat"]])),
    field("Older than, days", input("days", { type: "number", min: 0, step: "any" })),
    h("label", {}, h("input", { type: "checkbox", name: "all" }), " everything"), h("button", { class: "main" }, "Count"));
  if (session.role !== "admin") return h("p", {}, "A viewer's key may delete nothing.");
  return [h("p", {}, "All that is named must match. First it is counted, then you decide."), form, out];

  function wanted() {
    const { days, similarity, all, ...named } = values(form);
    if (days) named.older_than = Number(days) * 86400;
    if (similarity && named.similar_to) named.similarity = Number(similarity);
    if (all) named.all = true;
    return named;
  }

  async function ask(event) {
    event.preventDefault();
    const named = wanted();
    try {
      const { count: found } = await post("/admin/purge", { ...named, dry_run: true });
      const entries = count(found, "entry", "entries");
      out.replaceChildren(h("div", { class: "notice" }, h("p", {}, `${entries} would go.`),
        found > 0 && h("button", { type: "button", class: "danger", onclick: () => run(named, found, entries) }, `Delete ${entries}`)));
    } catch (error) { out.replaceChildren(h("p", { class: "notice bad" }, error.message)); }
  }

  async function run(named, found, entries) {
    if (!confirm(`Delete ${entries}? It can't be undone.`)) return;
    try {
      const { count: gone } = await post("/admin/purge", named.all ? { ...named, confirm: "purge all" } : named);
      out.replaceChildren(h("p", { class: "notice" }, `${count(gone, "entry is", "entries are")} gone.`));
    } catch (error) { out.replaceChildren(h("p", { class: "notice bad" }, error.message)); }
  }
}

export async function thresholds({ session }) {
  const operation = select("operation", [["", "all"], ["images", "images"], ["chat", "chat"]]);
  const namespace = input("namespace");
  const slider = input("threshold", { type: "range", min: 0.8, max: 1, step: 0.005, "aria-describedby": "threshold-says" });
  const says = h("p", { id: "threshold-says", role: "status" });
  const list = h("div", {});
  const own = h("div", {});
  const file = h("input", { type: "file", id: "pairs-file", accept: ".jsonl,.ndjson,.json", onchange: take });
  const told = h("p", { role: "status" });
  const pairs = h("section", {}, h("h2", {}, "Your labelled pairs"),
    h("p", {}, "A line of JSON for each pair, as for ", h("code", {}, "cache-service evaluate"), ": ", h("code", {}, '{"a": "A red fox", "b": "one red fox", "same": true}'),
      ". Each is decided as the service would, b asked when a is stored. Nothing of it is kept by the service, or here once you leave the console."),
    h("div", { class: "row" }, h("label", { for: "pairs-file" }, "File of pairs"), file), told, own);
  const form = h("form", { class: "filters", onsubmit: (event) => { event.preventDefault(); load(); }, onchange: (event) => { if (event.target !== slider) load(); } },
    field("Operation", operation), field("Namespace", namespace), h("button", {}, "Show"));
  let data = { threshold: 0.92, bands: [] };
  slider.addEventListener("input", draw);
  async function load() {
    data = await get("/admin/thresholds", { operation: operation.value, namespace: namespace.value.trim() });
    draw();
  }
  async function take() {
    try {
      const { judged, open } = labels.read(await file.files[0].text());
      told.textContent = `${count(judged, "pair is", "pairs are")} read${open ? `, ${number(open)} more have no label yet and are left out` : ""}.`;
      await decided();
    } catch (error) { told.textContent = error.message; }
    file.value = "";
  }
  async function decided() {
    await labels.decide(operation.value || "images", (done, of) => { told.textContent = `Deciding: ${number(done)} of ${number(of)} …`; });
    if (labels.all().length) told.textContent = `${count(labels.all().length, "pair is", "pairs are")} decided.`;
    draw();
  }
  await load();
  slider.value = data.threshold;
  draw();
  if (session.role === "admin") decided().catch((error) => { told.textContent = error.message; });
  return [
    h("p", {}, "Semantic hits on record, and those that were judged with a thumb up or down. A higher threshold would have lost the hits below it."),
    form, field("Threshold", slider), says, session.role === "admin" && pairs, h("div", { class: "charts" },
      h("img", { src: "/admin/charts/similarities", alt: "Semantic hits by similarity, with those judged right and wrong; the table below has the numbers." })), list,
    h("p", { class: "quiet" }, "What a lower threshold would add was never served, so no client judged it. Pairs that you label show it: below, misses on their own page under ",
      h("a", { href: "#/requests?decision=miss" }, "Requests"), ", or in shadow mode."),
  ];

  function draw() {
    const at = Number(slider.value);
    const sum = (name, kept) => data.bands.filter((band) => (band.similarity + 1e-9 >= at) === kept).reduce((all, band) => all + band[name], 0);
    const judged = sum("wrong", true) + sum("right", true);
    const share = judged ? `${number((100 * sum("wrong", true)) / judged, 1)} % of the judged hits that stay are wrong` : "none of the hits that stay was judged";
    says.textContent = `At ${cosine(at)} (now ${cosine(data.threshold)}): ${count(sum("hits", true), "hit stays", "hits stay")}, ${count(sum("hits", false), "becomes a miss", "become misses")}. ` +
      `${number(sum("wrong", false))} wrong and ${number(sum("right", false))} right ones of the judged would be gone; ${share}.`;
    let left = { hits: 0, wrong: 0, right: 0 };
    const rows = [...data.bands].reverse().map((band) => {
      left = { hits: left.hits + band.hits, wrong: left.wrong + band.wrong, right: left.right + band.right };
      const all = left.wrong + left.right;
      return h("tr", {}, cells(cosine(band.similarity), numeric(number(band.hits)), numeric(number(band.right)), numeric(number(band.wrong)),
        numeric(number(left.hits)), numeric(all ? `${number((100 * left.wrong) / all, 1)} %` : "–"), band.similarity + 1e-9 >= at ? "stays" : "gone"));
    });
    own.replaceChildren(...ofPairs(at));
    list.replaceChildren(table("By similarity", ["From", "Hits", "Judged right", "Judged wrong", "Hits from here up", "Wrong from here up", "At this threshold"], rows, "No semantic hit is on record yet."));
  }
}

const GATES = [0.8, 0.82, 0.84, 0.85, 0.86, 0.88, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99];

// What the labelled pairs come to: true and false hits at the chosen threshold and at others, and those that would be wrong.
function ofPairs(at) {
  const pairs = labels.all().filter((one) => one.similarity !== undefined);
  if (!pairs.length) return [];
  const same = pairs.filter((one) => one.same).length;
  const hits = (gate, wanted) => pairs.filter((one) => one.same === wanted && one.hit && one.similarity + 1e-9 >= gate).length;
  const share = (part, whole) => (whole ? `${number((100 * part) / whole, 1)} %` : "–");
  const row = (gate) => {
    const [right, wrong] = [hits(gate, true), hits(gate, false)];
    return h("tr", {}, cells(h("th", { scope: "row" }, cosine(gate)), numeric(number(right)), numeric(share(right, same)), numeric(number(wrong)),
      numeric(share(wrong, pairs.length - same)), numeric(share(wrong, right + wrong))));
  };
  const wrong = pairs.filter((one) => !one.same && one.hit && one.similarity + 1e-9 >= at).slice(0, 20);
  return [
    h("p", { role: "status" }, `At ${cosine(at)}: ${number(hits(at, true))} of ${number(same)} same pairs would be hits, and ${number(hits(at, false))} of ${number(pairs.length - same)} different ones.`),
    table("Labelled pairs by threshold", ["Threshold", "True hits", "Of the same", "False hits", "Of the different", "Wrong of all hits"],
      [...new Set([...GATES, at])].sort((one, other) => other - one).map(row)),
    wrong.length > 0 && h("h3", {}, "Wrong hits at this threshold"),
    wrong.length > 0 && table("Wrong hits", ["Stored", "Asked", "Similarity", "Verifier"], wrong.map((one) =>
      h("tr", {}, cells(promptCell(shown(one.a)), promptCell(shown(one.b)), numeric(cosine(one.similarity)), one.reason)))),
    h("div", { class: "row" }, h("a", { href: labels.asFile(), download: "pairs.jsonl" }, "Save these pairs as a file"),
      h("button", { type: "button", onclick: () => { labels.clear(); location.reload(); } }, "Forget them")),
  ].filter(Boolean);
}

const shown = (side) => (typeof side === "string" ? side : JSON.stringify(side));
