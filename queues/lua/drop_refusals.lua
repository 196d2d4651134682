--[[
drop_refusals: the batch stands in SQL. Another one, which somebody faster has put aside since, stays.
KEYS  1 tag of the team
ARGV  1 number of the batch
Returns 1 where it was dropped, else 0.
]]
local taken = KEYS[1] .. ":refused:taken"
if redis.call("HGET", taken, "@batch") ~= ARGV[1] then return 0 end
return redis.call("DEL", taken)
