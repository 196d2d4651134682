--[[
bring_back: a completed ticket that left Redis stands in the completed queue again, as SQL has it.
KEYS  1 tag of the team
ARGV  1 epoch   2 ticket id   3 document   4 version   5 token   6 number of its last line   7 score   8 number
Returns 1 where it was put back, 0 where it is there, or the epoch is another.
]]
local tag = KEYS[1] .. ":"
local key = tag .. "ticket:" .. ARGV[2]
if redis.call("HGET", tag .. "meta", "epoch") ~= ARGV[1] or redis.call("EXISTS", key) == 1 then return 0 end
redis.call("HSET", key, "doc", ARGV[3], "v", ARGV[4], "k", ARGV[5], "s", ARGV[6], "p", "queue:completed", "t", "")
redis.call("ZADD", tag .. "queue:completed", ARGV[7], ARGV[2])
redis.call("HSET", tag .. "numbers", ARGV[8], ARGV[2])
return 1
