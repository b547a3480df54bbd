-- What others ask of the owner; writes nothing. ARGV: id, epoch, owner
if not is_owner(ARGV[2], ARGV[3]) then return {'lost'} end
return {'ok', cancel_wanted() and '1' or '0'}
