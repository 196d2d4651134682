--[[
numbers: give out `count` ticket numbers of a year, in this epoch only.
KEYS  1 tag of the team
ARGV  1 epoch   2 year   3 count
Returns {"ok", first number} or {"epoch", what is there}.
]]
local tag = KEYS[1] .. ":"
local epoch = redis.call("HGET", tag .. "meta", "epoch")
if epoch ~= ARGV[1] then return { "epoch", epoch or "" } end
local last = redis.call("INCRBY", tag .. "counter:" .. ARGV[2], ARGV[3])
return { "ok", last - tonumber(ARGV[3]) + 1 }
