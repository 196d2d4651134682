--[[
reserve: count what is about to be spent in every counter of a call, or in none where one would go over its limit.
Whoever dies before it says what was really spent leaves the worst case counted: no crash makes room in a budget.
KEYS  the counters
ARGV  1 tokens   2 money, billionths   3 runs   4 seconds an untouched counter is kept
      then for each counter   most tokens   most money   most runs   ("" = no limit)
Returns {"ok", generation of each counter, ...}, {"cold", place of the counter that must be loaded from SQL},
or {"over", its place, "tokens" | "money" | "runs", what is counted there}.
]]
local fields = { "tokens", "money", "runs" }
local answer = { "ok" }
for i, key in ipairs(KEYS) do
  local there = redis.call("HMGET", key, "gen", "tokens", "money", "runs")
  if not there[1] then return { "cold", i } end
  for n = 1, 3 do
    local amount, most = tonumber(ARGV[n]), ARGV[1 + 3 * i + n]
    if amount > 0 and most ~= "" and tonumber(there[n + 1]) + amount > tonumber(most) then
      return { "over", i, fields[n], there[n + 1] }
    end
  end
  answer[#answer + 1] = there[1]
end
for _, key in ipairs(KEYS) do
  for n = 1, 3 do
    if ARGV[n] ~= "0" then redis.call("HINCRBY", key, fields[n], ARGV[n]) end
  end
  redis.call("EXPIRE", key, ARGV[4])
end
return answer
