--[[
read_ledger: entries of the ledger stream, one text each. XRANGE's own answer has 16 parts an entry, and taking those
apart costs the client more than all the rest of recording a line.
KEYS  1 ledger stream
ARGV  1 first stream id, inclusive, "-" = from the start   2 at most so many
Returns a list of: stream id, e, t, s, m, d, i with US (31) between. JSON cannot contain it; an entry that does anyway
falls apart into more parts. What is missing is empty.
]]
local us, out = string.char(31), {}
for n, entry in ipairs(redis.call("XRANGE", KEYS[1], ARGV[1], "+", "COUNT", ARGV[2])) do
  local f = {}
  for i = 1, #entry[2], 2 do f[entry[2][i]] = entry[2][i + 1] end
  out[n] = table.concat({ entry[1], f.e or "", f.t or "", f.s or "", f.m or "", f.d or "", f.i or "" }, us)
end
return out
