-- Runs one row of rows.lua in the phase that asks for it and writes down what came of it. The phases of a request call
-- run(PHASE); only the one that the client names in X-Phase acts, on the row that it names in X-Row. What runs
-- without a request (init, init_worker, timers, exit_worker) tries all rows in turn.
local rows = require "rows"

local driver = {}

-- A row passes when its function returns a true value; what it raises or returns beside nil or false is the reason.
local function try(phase, name)
    local results = ngx.shared.results
    local key = phase .. ":" .. name
    -- Stays where the function ends the request: the client then judges the row by what it received.
    results:set(key, "ended the phase")
    local run = rows.functions[name] or error("rows.lua has no " .. name)
    local fine, passed, why = pcall(run, phase)
    if not fine then
        results:set(key, "raised: " .. tostring(passed))
    elseif passed then
        results:set(key, "ok")
    else
        results:set(key, "gave: " .. tostring(why))
    end
end

function driver.run(phase)
    if ngx.var.http_x_phase ~= phase then
        return
    end
    local name = ngx.var.http_x_row
    -- Filters run once for each piece of a response: the first one counts.
    if ngx.shared.results:add(phase .. ":" .. name, "entered") then
        try(phase, name)
    end
end

function driver.run_all(phase)
    for _, name in ipairs(rows.names) do
        if not rows.needs_client[name] then
            try(phase, name)
        end
    end
    ngx.shared.results:set(phase .. ":done", "ok")
end

-- The results of all phases, a line each, for the client and for the file that exit_worker leaves.
function driver.report()
    local results = ngx.shared.results
    local lines = {}
    for _, key in ipairs(results:get_keys(0)) do
        local phase, name = key:match("^([^:]+):(.*)$")
        lines[#lines + 1] = phase .. "\t" .. name .. "\t" .. results:get(key):gsub("[\r\n\t]", " ")
    end
    return table.concat(lines, "\n") .. "\n"
end

return driver
