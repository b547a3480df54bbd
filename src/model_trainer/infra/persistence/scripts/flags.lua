-- What others ask of the owner; writes nothing. ARGV: id, epoch, owner
if not is_owner(ARGV[2], ARGV[3]) then return refusal() end
return flags()
