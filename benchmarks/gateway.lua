-- The token comes from the environment: a process list shows arguments.
wrk.headers["Authorization"] = "Bearer " .. os.getenv("SLIPWAY_TOKEN")
