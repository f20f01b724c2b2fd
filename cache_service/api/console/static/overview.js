// What it saves at a glance, whether anything is wrong, and the first steps while nothing has happened yet.
import { get } from "./api.js";
import { h, number, numeric, seconds, table, usd, cells } from "./dom.js";

const HITS = ["exact", "semantic"];
const TITLES = { exact: "Exact hits", semantic: "Semantic hits", collapsed: "Joined", miss: "Misses", bypass: "Not cached", error: "Errors" };

export async function overview() {
  const [{ spans }, stats, spending, firing] = await Promise.all(
    [get("/admin/overview"), get("/admin/stats"), get("/admin/spending", { days: 30 }), get("/admin/alerts")]);
  const counts = {};
  for (const span of spans) for (const { answer, count } of span.requests) counts[answer] = (counts[answer] || 0) + count;
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const hits = HITS.reduce((sum, kind) => sum + (counts[kind] || 0), 0);
  const sum = (name) => spans.reduce((all, span) => all + span[name], 0);
  return [
    firing.alerts.length > 0 && h("p", { class: "notice bad" }, h("a", { href: "#/alerts" }, `${firing.alerts.length} alerts fire`)),
    (stats.upstream.simulated || total === 0) && firstSteps(stats.upstream.simulated, stats.store.entries),
    h("h2", {}, "The last day, of this process"),
    h("dl", { class: "cards" },
      card("Requests", number(total)), card("Hit rate", total ? `${number((100 * hits) / total, 1)} %` : "–"),
      card("Saved", usd(sum("saved_usd"))), card("Paid", usd(sum("paid_usd"))), card("Time saved", seconds(sum("saved_seconds"))),
      card("Errors", number(counts.error || 0)), card("Calls upstream now", number(stats.upstream.pools.reduce((all, pool) => all + pool.in_flight, 0))),
      card("Entries", number(stats.store.entries)), card("Pictures", `${number(stats.store.blob_bytes / 1e6, 1)} MB`)),
    h("div", { class: "charts" },
      h("img", { src: "/admin/charts/traffic", alt: "Requests over time, by what became of them; the table below has the sums." }),
      h("img", { src: "/admin/charts/money", alt: `USD saved and paid, added up over time: ${usd(sum("saved_usd"))} saved, ${usd(sum("paid_usd"))} paid.` })),
    h("h2", {}, "By what became of them"),
    table("Requests by what became of them", ["Answer", "Requests", "Share"], Object.entries(TITLES).filter(([kind]) => counts[kind]).map(([kind, title]) =>
      h("tr", {}, cells(title, numeric(number(counts[kind])), numeric(`${number((100 * counts[kind]) / total, 1)} %`)))), "No requests yet."),
    h("h2", {}, "Limits in use"), pools(stats.upstream.pools),
    h("h2", {}, "Money by day"), days(spending.by_day),
    budgets(spending.budgets),
  ];
}

function firstSteps(simulated, stored) {
  const base = `${location.origin}/v1`;
  return h("section", { class: "notice" },
    h("h2", {}, simulated ? "The built-in simulator answers" : "Ready for the first request"),
    simulated && h("p", {}, "No upstream is configured: nothing is paid, no picture is real, and nothing it made is ever served once a real one is. " +
      "Set CACHE_SERVICE_UPSTREAM_API_KEYS (and CACHE_SERVICE_UPSTREAM_BASE_URL for another than OpenAI) and restart."),
    h("p", {}, "Point an OpenAI client at ", h("code", {}, base), ", or try it here: ", h("a", { href: "#/playground" }, "send a prompt twice"), "."),
    h("pre", { tabindex: "0" }, `curl -s ${base}/images/generations -H 'Content-Type: application/json' \\\n  -d '{"model": "gpt-image-2", "prompt": "A red fox in the snow"}'`),
    stored > 0 && h("p", {}, h("a", { href: "#/gallery" }, `${number(stored)} entries are stored.`)));
}

const card = (title, value) => h("div", { class: "card" }, h("dt", {}, title), h("dd", {}, value));

export function pools(list) {
  const rows = list.flatMap((pool) => {
    const dimensions = Object.entries(pool.limits).filter(([, limit]) => limit !== null);
    const name = [pool.name, " ", pool.healthy ? null : h("span", { class: "badge bad" }, "out"), pool.detail ? h("div", { class: "quiet" }, pool.detail) : null];
    const shown = dimensions.length ? dimensions : [["no limit known", null]];
    return shown.map(([dimension, limit], position) => {
      const used = pool.used[dimension] || 0;
      const meter = limit ? h("meter", { min: 0, max: limit, value: Math.min(used, limit), "aria-label": `${pool.name}: ${dimension} in use` }) : "–";
      return h("tr", {}, cells(position ? "" : name, position ? "" : pool.keys.join(", "), dimension, meter, numeric(limit ? `${number(used, 1)} of ${number(limit, 1)}` : "–"), numeric(position ? "" : number(pool.in_flight))));
    });
  });
  return table("Limit pools", ["Pool", "Keys", "Limit", "In use", "Used", "Calls in flight"], rows, "No pools.");
}

function days(list) {
  return table("Money by day", ["Day", "Paid", "Saved"], list.slice(-14).reverse().map((day) =>
    h("tr", {}, cells(day.day, numeric(usd(day.spent_usd)), numeric(usd(day.saved_usd))))), "Nothing was paid or saved yet.");
}

function budgets(list) {
  if (!list.length) return null;
  return [h("h2", {}, "Budgets"), table("Budgets", ["Of", "Spent", "Reserved", "Limit"], list.map((budget) =>
    h("tr", {}, cells(budget.client || budget.scope, numeric(usd(budget.spent_usd)), numeric(usd(budget.reserved_usd)), numeric(usd(budget.limit_usd))))))];
}
