--[[
forget_groups: take the names of empty ready sets out of the list that is scanned for work.
KEYS  1 tag of the team
ARGV  names, each <lane>:<group>
Returns how many were taken out.
]]
local tag, gone = KEYS[1] .. ":", 0
for _, group in ipairs(ARGV) do
  if redis.call("EXISTS", tag .. "ready:" .. group) == 0 then gone = gone + redis.call("SREM", tag .. "groups", group) end
end
return gone
