// The bearer token of this tab: it comes with the start-up link, /graphql#token=..., or is typed in. A fragment is never
// sent to a server; it is taken out of the address bar so that it isn't copied along with the address either.

const KEY = "slipway.token";

/** Move a token from the address into this tab's storage, and return the one that holds now ("" for none). */
export function readToken() {
  const fragment = new URLSearchParams(window.location.hash.slice(1));
  const token = fragment.get("token");
  if (token !== null) {
    saveToken(token);
    window.history.replaceState(null, "", window.location.pathname + window.location.search);
  }
  return window.sessionStorage.getItem(KEY) ?? "";
}

export function saveToken(token) {
  window.sessionStorage.setItem(KEY, token.trim());
}
