import "graphiql/setup-workers/vite";
import "graphiql/style.css";
import "./style.css";

import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { GraphiQL } from "graphiql";
import { useEffect, useMemo, useState } from "react";
import { createRoot } from "react-dom/client";

import { FIRST_LOOK } from "./firstLook.js";
import { readToken, saveToken } from "./token.js";

function App() {
  const [token, setToken] = useState(readToken);
  const [refusal, setRefusal] = useState("");

  useEffect(() => {
    const onHashChange = () => setToken(readToken());
    window.addEventListener("hashchange", onHashChange);
    return () => window.removeEventListener("hashchange", onHashChange);
  }, []);

  const fetcher = useMemo(
    () =>
      createGraphiQLFetcher({
        url: window.location.pathname,
        fetch: async (url, options) => {
          const headers = new Headers(options.headers);
          if (token && !headers.has("authorization")) {
            headers.set("authorization", `Bearer ${token}`);
          }
          const response = await fetch(url, { ...options, headers });
          setRefusal(response.status === 401 ? await refusalOf(token, response.clone()) : "");
          return response;
        },
      }),
    [token],
  );

  function changeToken(event) {
    event.preventDefault();
    saveToken(new FormData(event.currentTarget).get("token"));
    setToken(readToken());
  }

  return (
    <>
      <form className="token" onSubmit={changeToken}>
        <label htmlFor="token">Token</label>
        {/* The token itself stays out of the document, where anything that copies the page would find it. */}
        <input
          key={token}
          id="token"
          name="token"
          type="password"
          autoComplete="off"
          placeholder={token ? "••••••••••••" : ""}
          required
        />
        <button type="submit">Use</button>
        <output htmlFor="token">{refusal}</output>
      </form>
      {/* A new token may be a new viewer: the schema is asked for again. */}
      <GraphiQL key={token} fetcher={fetcher} defaultQuery={FIRST_LOOK}>
        <GraphiQL.Logo>Slipway</GraphiQL.Logo>
      </GraphiQL>
    </>
  );
}

async function refusalOf(token, response) {
  if (!token) {
    return "No token yet (401). Open the link that the server printed when it started, or paste a token here.";
  }
  const answer = await response.json().catch(() => null);
  return `Not let in (401). ${answer?.errors?.[0]?.message ?? ""}`;
}

createRoot(document.getElementById("root")).render(<App />);
