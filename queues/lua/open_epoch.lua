--[[
open_epoch: the last step of a rebuild. From here on commits are taken again, and only those of this epoch.
KEYS  1 tag of the team
ARGV  1 epoch   2 genesis line, JSON
Returns the stream id of the genesis line, "" where another rebuild has begun since.
]]
local tag = KEYS[1] .. ":"
local now = redis.call("HMGET", tag .. "meta", "rebuilding", "epoch")
if now[1] and now[1] ~= ARGV[1] or now[2] then return "" end
redis.call("DEL", tag .. "ledger")
local id = redis.call("XADD", tag .. "ledger", "*", "e", ARGV[1], "t", "", "s", "1", "m", ARGV[2], "d", "", "i", "")
redis.call("HSET", tag .. "meta", "epoch", ARGV[1])
redis.call("HDEL", tag .. "meta", "rebuilding")
if redis.call("EXISTS", tag .. "bell") == 0 then redis.call("LPUSH", tag .. "bell", "1") end
return id
