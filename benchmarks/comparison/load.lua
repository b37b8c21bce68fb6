-- What is sent comes from a file; the token from the environment, for a process list shows arguments.
local file = io.open(os.getenv("BENCHMARK_BODY"), "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("SLIPWAY_TOKEN")
