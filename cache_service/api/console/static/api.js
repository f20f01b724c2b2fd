// The administration's interface: JSON in and out; the session's cookie goes along by itself.

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `The service answered ${status}.`);
    this.status = status;
    this.code = problem.code;
  }
}

async function ask(method, path, body) {
  const options = { method, headers: { accept: "application/json" }, credentials: "same-origin" };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    if (response.status === 401 && path !== "/admin/session") dispatchEvent(new Event("logged-out"));
    throw new Refused(response.status, answer);
  }
  return answer;
}

const query = (parameters) => {
  const text = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined));
  return text.size ? `?${text}` : "";
};

export const get = (path, parameters = {}) => ask("GET", path + query(parameters));
export const post = (path, body) => ask("POST", path, body);
export const remove = (path) => ask("DELETE", path);
