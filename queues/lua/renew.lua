--[[
renew: move a lease's end, if the caller still holds the ticket. No version, no ledger line.
KEYS  1 tag of the team
ARGV  1 epoch   2 ticket id   3 token the caller holds   4 new end of the lease, unix seconds
Returns {"ok"} or {"epoch" | "token", what is there}.
]]
local tag = KEYS[1] .. ":"
local epoch = redis.call("HGET", tag .. "meta", "epoch")
if epoch ~= ARGV[1] then return { "epoch", epoch or "" } end
local token = redis.call("HGET", tag .. "ticket:" .. ARGV[2], "k")
if token ~= ARGV[3] or not redis.call("ZSCORE", tag .. "timers", "lease:" .. ARGV[2]) then return { "token", token or "" } end
redis.call("ZADD", tag .. "timers", ARGV[4], "lease:" .. ARGV[2])
return { "ok" }
