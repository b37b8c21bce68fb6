import { defineConfig } from "vite";

export default defineConfig({
  base: "/graphiql/",
  build: {
    outDir: "../static",
    emptyOutDir: true,
    chunkSizeWarningLimit: 8192, // Monaco is as large as it is
    license: { fileName: "licenses.md" },
    rolldownOptions: {
      // React's "use client" means nothing in a bundle that is all client.
      onLog: (level, log, handle) => log.code === "MODULE_LEVEL_DIRECTIVE" || handle(level, log),
    },
  },
  worker: { format: "es" },
});
