-- What is sent comes from a file, a body a line, again from the first after the last; the token comes from the
-- environment, for a process list shows arguments.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("SLIPWAY_TOKEN")

local requests = {}
local number = 0

function init()
  for body in io.lines(os.getenv("BENCHMARK_BODIES")) do
    requests[#requests + 1] = wrk.format(nil, nil, nil, body)
  end
end

function request()
  number = number % #requests + 1
  return requests[number]
end
