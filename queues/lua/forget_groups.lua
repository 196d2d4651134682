--[[
forget_groups: take the names of empty sets out of the list that is scanned for them.
KEYS  1 tag of the team
ARGV  1 list, as groups   2 prefix of the sets, as ready:   3+ names, each <lane>:<rest>
Returns how many were taken out.
]]
local tag, gone = KEYS[1] .. ":", 0
for i = 3, #ARGV do
  if redis.call("EXISTS", tag .. ARGV[2] .. ARGV[i]) == 0 then gone = gone + redis.call("SREM", tag .. ARGV[1], ARGV[i]) end
end
return gone
