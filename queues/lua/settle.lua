--[[
settle: what was reserved is over; count what was really spent. A counter that was loaded anew since knows nothing of
the reservation and gets the whole; one that is gone gets nothing, SQL will have it.
KEYS  the counters
ARGV  1-3 tokens, money, runs reserved   4-6 tokens, money, runs spent   then the generation of each when it was reserved
Returns how many counters were there.
]]
local fields = { "tokens", "money", "runs" }
local found = 0
for i, key in ipairs(KEYS) do
  local generation = redis.call("HGET", key, "gen")
  if generation then
    found = found + 1
    for n = 1, 3 do
      local spent = tonumber(ARGV[n + 3])
      if generation == ARGV[6 + i] then spent = spent - tonumber(ARGV[n]) end
      if spent ~= 0 then redis.call("HINCRBY", key, fields[n], string.format("%.0f", spent)) end
    end
  end
end
return found
