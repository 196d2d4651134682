--[[
disarm: take a timer out, or put it off, unless it has been armed for another moment since it was read.
KEYS  1 tag of the team
ARGV  1 timer, <kind>:<ticket id>   2 the moment it was read with   3 the new moment, "" = take it out
Returns 1 where it was done, else 0.
]]
local timers = KEYS[1] .. ":timers"
local at = redis.call("ZSCORE", timers, ARGV[1])
if not at or tonumber(at) ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == "" then redis.call("ZREM", timers, ARGV[1]) else redis.call("ZADD", timers, ARGV[3], ARGV[1]) end
return 1
