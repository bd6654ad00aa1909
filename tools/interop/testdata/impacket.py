# What TestImpacket asks of a server through impacket, a client and an RPC library of another make.
# Arguments: port, user, password. Prints one JSON object.
import io, json, sys

from impacket.dcerpc.v5 import lsad, lsat, samr, srvs, transport, wkst
from impacket.smbconnection import SMBConnection

port, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
out = {}

smb = SMBConnection("nas.test", "127.0.0.1", sess_port=port)
smb.login(user, password)
# With a server that leases directories impacket 0.12 fails on names of less than three parts, before it sends them.
smb._SMBConnection._Connection["SupportsDirectoryLeasing"] = False
out["dialect"], out["signed"] = smb.getDialect(), smb.isSigningRequired()
out["shares"] = sorted(s["shi1_netname"][:-1] for s in smb.listShares())

data = bytes(range(256)) * 8192  # 2 MiB
smb.createDirectory("disk", "imp")
smb.putFile("disk", "imp/x", io.BytesIO(data).read)
back = io.BytesIO()
smb.getFile("disk", "imp/x", back.write)
out["same"] = back.getvalue() == data
smb.rename("disk", "imp/x", "imp/y")
out["names"] = sorted((f.get_longname(), f.get_filesize()) for f in smb.listPath("disk", "imp/*") if not f.is_directory())
smb.deleteFile("disk", "imp/y")
smb.deleteDirectory("disk", "imp")
out["left"] = [f.get_longname() for f in smb.listPath("disk", "*") if f.get_longname() not in (".", "..")]


def rpc(pipe, interface):
    dce = transport.SMBTransport("127.0.0.1", port, pipe, smb_connection=smb).get_dce_rpc()
    dce.connect()
    dce.bind(interface)
    return dce


d = rpc(r"\samr", samr.MSRPC_UUID_SAMR)
server = samr.hSamrConnect(d)["ServerHandle"]
names = [x["Name"] for x in samr.hSamrEnumerateDomainsInSamServer(d, server)["Buffer"]["Buffer"]]
out["domains"] = names
sid = samr.hSamrLookupDomainInSamServer(d, server, names[0])["DomainId"]
domain = samr.hSamrOpenDomain(d, server, domainId=sid)["DomainHandle"]
out["users"] = {}
for u in samr.hSamrEnumerateUsersInDomain(d, domain)["Buffer"]["Buffer"]:
    handle = samr.hSamrOpenUser(d, domain, samr.MAXIMUM_ALLOWED, u["RelativeId"])["UserHandle"]
    info = samr.hSamrQueryInformationUser2(d, handle, samr.USER_INFORMATION_CLASS.UserAllInformation)["Buffer"]["All"]
    groups = samr.hSamrGetGroupsForUser(d, handle)["Groups"]["Groups"]
    out["users"][info["UserName"]] = [info["UserId"], info["UserAccountControl"], [g["RelativeId"] for g in groups]]
classes = [c for c in range(1, 14) if c != 10]
out["domain classes"] = len([samr.hSamrQueryInformationDomain2(d, domain, c) for c in classes]) == len(classes)
classes = [c for c in range(1, 22) if c not in (15, 18, 19)]
out["user classes"] = len([samr.hSamrQueryInformationUser2(d, handle, c) for c in classes]) == len(classes)

d = rpc(r"\lsarpc", lsat.MSRPC_UUID_LSAT)
policy = lsad.hLsarOpenPolicy2(d, samr.MAXIMUM_ALLOWED | lsat.POLICY_LOOKUP_NAMES)["PolicyHandle"]
sids = [sid.formatCanonical() + "-1000", "S-1-5-32-544", "S-1-1-0"]
r = lsat.hLsarLookupSids(d, policy, sids, lsat.LSAP_LOOKUP_LEVEL.LsapLookupWksta)
out["names of SIDs"] = [(x["Name"], x["Use"]) for x in r["TranslatedNames"]["Names"]]

d = rpc(r"\srvsvc", srvs.MSRPC_UUID_SRVS)
null = srvs.NULL
for level in (0, 1, 2, 10, 502):
    r = srvs.hNetrSessionEnum(d, null, null, level)["InfoStruct"]["SessionInfo"]["Level%d" % level]
    out["sessions %d" % level] = r["EntriesRead"]
r = srvs.hNetrFileEnum(d, null, null, 3)["InfoStruct"]["FileInfo"]["Level3"]["Buffer"]
out["files"] = sorted({f["fi3_path_name"][:-1] for f in r})
r = srvs.hNetrConnectionEnum(d, "IPC$\x00", 1)["InfoStruct"]["ConnectInfo"]["Level1"]["Buffer"]
out["connections"] = sorted({c["coni1_username"][:-1] for c in r})
for level in (0, 1, 2, 501, 502, 503):
    r = srvs.hNetrShareEnum(d, level)["InfoStruct"]["ShareInfo"]["Level%d" % level]
    out["shares %d" % level] = r["EntriesRead"]
out["server"] = srvs.hNetrServerGetInfo(d, 102)["InfoStruct"]["ServerInfo102"]["sv102_name"][:-1]
out["disks"] = [x["Disk"][:-1] for x in srvs.hNetrServerDiskEnum(d, 0)["DiskInfoStruct"]["Buffer"]]
r = srvs.hNetrServerTransportEnum(d, 1)["InfoStruct"]["XportInfo"]["Level1"]["Buffer"]
out["transports"] = [x["svti1_transportname"][:-1] for x in r]
out["opened"] = srvs.hNetrServerStatisticsGet(d, "\x00", 0, 0)["InfoStruct"]["sts0_fopens"] > 0

d = rpc(r"\wkssvc", wkst.MSRPC_UUID_WKST)
out["workgroup"] = wkst.hNetrWkstaGetInfo(d, 102)["WkstaInfo"]["WkstaInfo102"]["wki102_langroup"][:-1]
r = wkst.hNetrWkstaUserEnum(d, 1)["UserInfo"]["WkstaUserInfo"]["Level1"]["Buffer"]
out["logged on"] = [x["wkui1_username"][:-1] for x in r]
json.dump(out, sys.stdout)
