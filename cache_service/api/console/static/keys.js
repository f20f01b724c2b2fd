// Limit pools of the upstream, live, and the keys of clients and operators.
import { get, post } from "./api.js";
import { cells, clock, field, h, input, numeric, say, select, table, usd, values } from "./dom.js";
import { pools } from "./overview.js";

const EVERY = 2000; // milliseconds

export async function keys({ session }) {
  const limits = h("div", {});
  const list = h("div", {});
  const made = h("div", { role: "status" });
  const form = h("form", { class: "filters", onsubmit: create },
    field("Name", input("name", { required: true, pattern: "[A-Za-z0-9._\\-]{1,64}" })),
    field("Role", select("role", [["client", "client"], ["viewer", "viewer: may look"], ["admin", "admin"]])),
    field("Key namespace", input("namespace", { placeholder: "as the name", pattern: "[A-Za-z0-9._\\-]{1,64}" })),
    field("USD a day", input("usd_per_day", { type: "number", min: 0, step: "any", placeholder: "no bound" })),
    h("button", { class: "main" }, "Create key"));
  const drawPools = async () => { limits.replaceChildren(pools((await get("/admin/pools")).pools)); };
  await Promise.all([drawPools(), drawKeys()]);
  const timer = setInterval(() => { if (!document.hidden && !limits.contains(document.activeElement)) drawPools().catch(() => {}); }, EVERY);
  return {
    content: [h("h2", {}, "Limit pools"), limits, h("h2", {}, "Keys made here"), session.role === "admin" && form, made, list,
      h("p", { class: "quiet" }, "Keys of the settings work beside these, and aren't listed. A revoked key opens nothing from the next second on.")],
    stop: () => clearInterval(timer),
  };

  async function drawKeys() {
    const { keys: found } = await get("/admin/keys", { limit: 200 });
    list.replaceChildren(table("Keys", ["Name", "Role", "Namespace", "USD a day", "Made", "By", "State"], found.map((key) => h("tr", {}, cells(
      key.name, key.role, key.namespace, numeric(usd(key.usd_per_day)), clock(key.created_at), key.created_by,
      h("td", {}, key.revoked_at === null
        ? session.role === "admin" ? h("button", { type: "button", class: "danger", "aria-label": `Revoke ${key.name}`, onclick: () => revoke(key) }, "Revoke") : "live"
        : `revoked ${clock(key.revoked_at)}`)))), "No key was made yet."));
  }

  async function create(event) {
    event.preventDefault();
    const wanted = values(form);
    if (wanted.role !== "client") { delete wanted.namespace; delete wanted.usd_per_day; }
    if (wanted.usd_per_day) wanted.usd_per_day = Number(wanted.usd_per_day);
    try {
      const key = await post("/admin/keys", wanted);
      made.replaceChildren(h("div", { class: "notice" }, h("p", {}, `The key of ${key.name}. It is shown this once:`), h("pre", { tabindex: "0" }, key.key)));
      form.reset();
      await drawKeys();
    } catch (error) { made.replaceChildren(h("p", { class: "notice bad" }, error.message)); }
  }

  async function revoke(key) {
    if (!confirm(`Revoke the key of ${key.name}? It can't be undone.`)) return;
    await post(`/admin/keys/${key.id}/revoke`).then(() => say("Revoked."), (error) => say(error.message));
    await drawKeys();
  }
}
