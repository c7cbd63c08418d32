package synth

import "strconv"

// Windows events, one flat JSON object a line, as log shippers on Windows write them: the System part's fields first,
// then the event's own, then the first sentence of its message.

// winEvent is one event id: its channel, the constant part after EventID, and the fields of its EventData as a template.
type winEvent struct {
	id       int
	channel  string
	constant string
	data     template
}

func security(id, task int, failure bool, data, message string) *winEvent {
	return securityVersion(id, 0, task, failure, data, message)
}

func securityVersion(id, version, task int, failure bool, data, message string) *winEvent {
	keywords := "0x8020000000000000"
	if failure {
		keywords = "0x8010000000000000"
	}
	return &winEvent{id, "Security", `,"Version":` + strconv.Itoa(version) + `,"Severity":"INFO","Keywords":"` + keywords +
		`","Task":` + strconv.Itoa(task) + `,"ProviderName":"Microsoft-Windows-Security-Auditing","ProviderGuid":"{54849625-5478-4994-A5BA-3E3B0328C30D}"`,
		jsonText(data + `,"Message":"` + message + `"}`)}
}

func other(id int, channel, provider, severity, data, message string) *winEvent {
	return &winEvent{id, channel, `,"Version":0,"Severity":"` + severity + `","ProviderName":"` + provider + `"`,
		jsonText(data + `,"Message":"` + message + `"}`)}
}

const (
	subjectUser   = `,"SubjectUserSid":"{sid}","SubjectUserName":"{u}","SubjectDomainName":"UMBRIN","SubjectLogonId":"{7}"`
	subjectSystem = `,"SubjectUserSid":"S-1-5-18","SubjectUserName":"{h}$","SubjectDomainName":"UMBRIN","SubjectLogonId":"0x3e7"`
	subjectNone   = `,"SubjectUserSid":"S-1-0-0","SubjectUserName":"-","SubjectDomainName":"-","SubjectLogonId":"0x0"`
	targetUser    = `,"TargetUserSid":"{sid}","TargetUserName":"{u}","TargetDomainName":"UMBRIN"`
)

// Strings 0 … 6 are the event's own, 7 is the logon id.
var (
	winLogon = securityVersion(4624, 2, 12544, false, subjectNone+targetUser+
		`,"TargetLogonId":"{7}","LogonType":{#0},"LogonProcessName":"{0}","AuthenticationPackageName":"{1}","WorkstationName":"{2}","LogonGuid":"{{guid}}","TransmittedServices":"-","LmPackageName":"{3}","KeyLength":{#1},"ProcessId":"0x0","ProcessName":"-","IpAddress":"{ip}","IpPort":"{port}","ImpersonationLevel":"%%1833","ElevatedToken":"%%1842"`,
		"An account was successfully logged on.")
	winLogonLocal = securityVersion(4624, 2, 12544, false, subjectSystem+targetUser+
		`,"TargetLogonId":"{7}","LogonType":{#0},"LogonProcessName":"User32 ","AuthenticationPackageName":"Negotiate","WorkstationName":"{h}","LogonGuid":"{{guid}}","TransmittedServices":"-","LmPackageName":"-","KeyLength":0,"ProcessId":"0x{x:3}","ProcessName":"C:\\Windows\\System32\\svchost.exe","IpAddress":"{ip}","IpPort":"0","ImpersonationLevel":"%%1833","ElevatedToken":"%%1843"`,
		"An account was successfully logged on.")
	winLogonMachine = securityVersion(4624, 2, 12544, false, subjectNone+
		`,"TargetUserSid":"S-1-5-18","TargetUserName":"{2}$","TargetDomainName":"UMBRIN.EXAMPLE","TargetLogonId":"{7}","LogonType":3,"LogonProcessName":"Kerberos","AuthenticationPackageName":"Kerberos","WorkstationName":"-","LogonGuid":"{{guid}}","TransmittedServices":"-","LmPackageName":"-","KeyLength":0,"ProcessId":"0x0","ProcessName":"-","IpAddress":"{ip}","IpPort":"{port}","ImpersonationLevel":"%%1833","ElevatedToken":"%%1842"`,
		"An account was successfully logged on.")
	winLogonFailed = security(4625, 12544, true, subjectNone+
		`,"TargetUserSid":"S-1-0-0","TargetUserName":"{0}","TargetDomainName":"UMBRIN","Status":"{1}","FailureReason":"%%{#1}","SubStatus":"{2}","LogonType":{#0},"LogonProcessName":"{3}","AuthenticationPackageName":"{4}","WorkstationName":"{5}","TransmittedServices":"-","LmPackageName":"-","KeyLength":0,"ProcessId":"0x0","ProcessName":"-","IpAddress":"{ip}","IpPort":"{port}"`,
		"An account failed to log on.")
	winLogoff       = security(4634, 12545, false, targetUser+`,"TargetLogonId":"{7}","LogonType":{#0}`, "An account was logged off.")
	winUserLogoff   = security(4647, 12545, false, targetUser+`,"TargetLogonId":"{7}"`, "User initiated logoff:")
	winExplicit     = security(4648, 12544, false, subjectUser+`,"LogonGuid":"{00000000-0000-0000-0000-000000000000}","TargetUserName":"{0}","TargetDomainName":"UMBRIN","TargetLogonGuid":"{00000000-0000-0000-0000-000000000000}","TargetServerName":"{1}","TargetInfo":"{1}","ProcessId":"0x{x:3}","ProcessName":"{2}","IpAddress":"-","IpPort":"-"`, "A logon was attempted using explicit credentials.")
	winSpecial      = security(4672, 12548, false, subjectUser+`,"PrivilegeList":"SeSecurityPrivilege\r\n\t\t\tSeBackupPrivilege\r\n\t\t\tSeRestorePrivilege\r\n\t\t\tSeTakeOwnershipPrivilege\r\n\t\t\tSeDebugPrivilege\r\n\t\t\tSeSystemEnvironmentPrivilege\r\n\t\t\tSeLoadDriverPrivilege\r\n\t\t\tSeImpersonatePrivilege"`, "Special privileges assigned to new logon.")
	winProcess      = securityVersion(4688, 2, 13312, false, subjectUser+`,"NewProcessId":"0x{x:4}","NewProcessName":"{0}","TokenElevationType":"%%{#0}","ProcessId":"0x{x:4}","CommandLine":"{1}","TargetUserSid":"S-1-0-0","TargetUserName":"-","TargetDomainName":"-","TargetLogonId":"0x0","ParentProcessName":"{2}","MandatoryLabel":"S-1-16-{3}"`, "A new process has been created.")
	winProcessEnd   = security(4689, 13313, false, subjectUser+`,"Status":"0x0","ProcessId":"0x{x:4}","ProcessName":"{0}"`, "A process has exited.")
	winLocked       = security(4800, 12551, false, targetUser+`,"TargetLogonId":"{7}","SessionId":{n:1-3}`, "The workstation was locked.")
	winUnlocked     = security(4801, 12551, false, targetUser+`,"TargetLogonId":"{7}","SessionId":{n:1-3}`, "The workstation was unlocked.")
	winTGT          = security(4768, 14339, false, `,"TargetUserName":"{u}","TargetDomainName":"UMBRIN","TargetSid":"{sid}","ServiceName":"krbtgt","ServiceSid":"`+domainSID+`-502","TicketOptions":"0x40810010","Status":"0x0","TicketEncryptionType":"0x12","PreAuthType":"{2|15}","IpAddress":"::ffff:{ip}","IpPort":"{port}","CertIssuerName":"","CertSerialNumber":"","CertThumbprint":""`, "A Kerberos authentication ticket (TGT) was requested.")
	winTicket       = security(4769, 14337, false, `,"TargetUserName":"{u}@UMBRIN.EXAMPLE","TargetDomainName":"UMBRIN.EXAMPLE","ServiceName":"{0}","ServiceSid":"`+domainSID+`-{n:1000-1060}","TicketOptions":"0x{40810000|40800000|60810010}","TicketEncryptionType":"0x12","IpAddress":"::ffff:{ip}","IpPort":"{port}","Status":"0x0","LogonGuid":"{{guid}}","TransmittedServices":"-"`, "A Kerberos service ticket was requested.")
	winPreAuth      = security(4771, 14339, true, `,"TargetUserName":"{u}","TargetSid":"{sid}","ServiceName":"krbtgt/UMBRIN","TicketOptions":"0x40810010","Status":"0x18","PreAuthType":"2","IpAddress":"::ffff:{ip}","IpPort":"{port}","CertIssuerName":"","CertSerialNumber":"","CertThumbprint":""`, "Kerberos pre-authentication failed.")
	winNTLM         = security(4776, 14336, false, `,"PackageName":"MICROSOFT_AUTHENTICATION_PACKAGE_V1_0","TargetUserName":"{u}","Workstation":"{0}","Status":"{1}"`, "The computer attempted to validate the credentials for an account.")
	winUserCreated  = security(4720, 13824, false, subjectUser+`,"TargetUserName":"{0}","TargetDomainName":"UMBRIN","TargetSid":"{1}","PrivilegeList":"-","SamAccountName":"{0}","DisplayName":"{2}","UserPrincipalName":"{0}@umbrin.example","HomeDirectory":"-","UserAccountControl":"\r\n\t\t%%2080\r\n\t\t%%2082\r\n\t\t%%2084"`, "A user account was created.")
	winUserEnabled  = security(4722, 13824, false, subjectUser+`,"TargetUserName":"{0}","TargetDomainName":"UMBRIN","TargetSid":"{1}"`, "A user account was enabled.")
	winChangePass   = security(4723, 13824, false, subjectUser+`,"TargetUserName":"{u}","TargetDomainName":"UMBRIN","TargetSid":"{sid}","PrivilegeList":"-"`, "An attempt was made to change an account's password.")
	winResetPass    = security(4724, 13824, false, subjectUser+`,"TargetUserName":"{0}","TargetDomainName":"UMBRIN","TargetSid":"{1}"`, "An attempt was made to reset an account's password.")
	winGlobalGroup  = security(4728, 13826, false, subjectUser+`,"MemberName":"CN={2},OU=People,DC=umbrin,DC=example","MemberSid":"{1}","TargetUserName":"{3}","TargetDomainName":"UMBRIN","TargetSid":"`+domainSID+`-512","PrivilegeList":"-"`, "A member was added to a security-enabled global group.")
	winLocalGroup   = security(4732, 13826, false, subjectUser+`,"MemberName":"-","MemberSid":"{1}","TargetUserName":"{3}","TargetDomainName":"Builtin","TargetSid":"S-1-5-32-544","PrivilegeList":"-"`, "A member was added to a security-enabled local group.")
	winUserChanged  = security(4738, 13824, false, subjectUser+`,"TargetUserName":"{0}","TargetDomainName":"UMBRIN","TargetSid":"{1}","PasswordLastSet":"{2}","UserAccountControl":"-"`, "A user account was changed.")
	winLockedOut    = security(4740, 13824, false, subjectSystem+`,"TargetUserName":"{u}","TargetDomainName":"{0}","TargetSid":"{sid}"`, "A user account was locked out.")
	winUnlockedAcct = security(4767, 13824, false, subjectUser+`,"TargetUserName":"{0}","TargetDomainName":"UMBRIN","TargetSid":"{1}"`, "A user account was unlocked.")
	winShare        = securityVersion(5140, 1, 12808, false, subjectUser+`,"ObjectType":"File","IpAddress":"{ip}","IpPort":"{port}","ShareName":"{0}","ShareLocalPath":"{1}","AccessMask":"0x1","AccessList":"%%4416\r\n\t\t\t\t"`, "A network share object was accessed.")
	winShareFile    = security(5145, 12811, false, subjectUser+`,"ObjectType":"File","IpAddress":"{ip}","IpPort":"{port}","ShareName":"{0}","ShareLocalPath":"{1}","RelativeTargetName":"{2}","AccessMask":"0x{120089|12019f|100081}","AccessList":"%%1538\r\n\t\t\t\t%%1541\r\n\t\t\t\t%%4416\r\n\t\t\t\t","AccessReason":"-"`, "A network share object was checked to see whether client can be granted desired access.")
	winShareDenied  = security(5145, 12811, true, subjectUser+`,"ObjectType":"File","IpAddress":"{ip}","IpPort":"{port}","ShareName":"{0}","ShareLocalPath":"{1}","RelativeTargetName":"{2}","AccessMask":"0x120089","AccessList":"%%1538\r\n\t\t\t\t%%4416\r\n\t\t\t\t","AccessReason":"%%4416: %%1805"`, "A network share object was checked to see whether client can be granted desired access.")
	winFile         = securityVersion(4663, 1, 12800, false, subjectUser+`,"ObjectServer":"Security","ObjectType":"File","ObjectName":"{0}","HandleId":"0x{x:3}","AccessList":"{1}\r\n\t\t\t\t","AccessMask":"{2}","ProcessId":"0x4","ProcessName":"{3}","ResourceAttributes":"S:AI"`, "An attempt was made to access an object.")
	winFileDeleted  = security(4660, 12800, false, subjectUser+`,"ObjectServer":"Security","HandleId":"0x{x:3}","ProcessId":"0x4","ProcessName":"","TransactionId":"{00000000-0000-0000-0000-000000000000}"`, "An object was deleted.")
	winTask         = security(4698, 12804, false, subjectUser+`,"TaskName":"{0}","TaskContent":"<?xml version=\"1.0\"?><Task><Actions><Exec><Command>{1}</Command><Arguments>{2}</Arguments></Exec></Actions></Task>"`, "A scheduled task was created.")
	winAuditPolicy  = security(4719, 13568, false, subjectUser+`,"CategoryId":"%%8274","SubcategoryId":"%%12804","SubcategoryGuid":"{0CCE9227-69AE-11D9-BED3-505054503030}","AuditPolicyChanges":"{0}"`, "System audit policy was changed.")
	winServiceSec   = security(4697, 12289, false, subjectUser+`,"ServiceName":"{0}","ServiceFileName":"{1}","ServiceType":"0x10","ServiceStartType":"{2|3}","ServiceAccount":"LocalSystem"`, "A service was installed in the system.")
	winLogCleared   = other(1102, "Security", "Microsoft-Windows-Eventlog", "INFO", subjectUser, "The audit log was cleared.")
	winSysCleared   = other(104, "System", "Microsoft-Windows-Eventlog", "INFO", subjectUser+`,"ClearedChannel":"{0}","BackupPath":"{1}"`, "The {0} log file was cleared.")
	winServiceNew   = other(7045, "System", "Service Control Manager", "INFO", `,"ServiceName":"{0}","ImagePath":"{1}","ServiceType":"user mode service","StartType":"{2}","AccountName":"LocalSystem"`, "A service was installed in the system.")
	winServiceState = other(7036, "System", "Service Control Manager", "INFO", `,"param1":"{0}","param2":"{1}"`, "The {0} service entered the {1} state.")
	winServiceStart = other(7040, "System", "Service Control Manager", "INFO", `,"param1":"{Background Intelligent Transfer Service|Windows Modules Installer}","param2":"{auto start|demand start}","param3":"{demand start|auto start}","param4":"{BITS|TrustedInstaller}"`, "The start type of a service was changed.")
	winTime         = other(35, "System", "Microsoft-Windows-Time-Service", "INFO", `,"TimeSource":"DC01.corp.umbrin.example (ntp.d|0.0.0.0:123->10.10.0.10:123)"`, "The time service is now synchronizing the system time.")
	winPolicy       = other(1502, "System", "Microsoft-Windows-GroupPolicy", "INFO", `,"SupportInfo1":1,"SupportInfo2":{n:3000-4900},"ProcessingMode":0,"ProcessingTimeInMilliseconds":{n:400-9000},"DCName":"\\\\DC01.corp.umbrin.example","NumberOfGroupPolicyObjects":{n:3-9}`, "The Group Policy settings for the computer were processed successfully.")
	winPowerShell   = other(4104, "Microsoft-Windows-PowerShell/Operational", "Microsoft-Windows-PowerShell", "VERBOSE", `,"UserID":"{sid}","AccountName":"{u}","MessageNumber":1,"MessageTotal":1,"ScriptBlockText":"{0}","ScriptBlockId":"{guid}","Path":"{1}"`, "Creating Scriptblock text (1 of 1)")
	winDefenderOff  = other(5001, "Microsoft-Windows-Windows Defender/Operational", "Microsoft-Windows-Windows Defender", "WARNING", `,"Product_Name":"Microsoft Defender Antivirus","Product_Version":"4.18.24090.11"`, "Microsoft Defender Antivirus Real-time Protection scanning for malware and other potentially unwanted software was disabled.")
	winDefenderScan = other(1001, "Microsoft-Windows-Windows Defender/Operational", "Microsoft-Windows-Windows Defender", "INFO", `,"Product_Name":"Microsoft Defender Antivirus","Product_Version":"4.18.24090.11","Scan_ID":"{{guid}}","Scan_Type":"Antimalware","Scan_Parameters":"Quick Scan"`, "Microsoft Defender Antivirus scan has finished.")
	winCrash        = other(1000, "Application", "Application Error", "ERROR", `,"Data":"{OUTLOOK.EXE|EXCEL.EXE|chrome.exe|Teams.exe}, {n:1-130}.0.{n:1000-19000}.{n:10-300}, ntdll.dll, 10.0.22621.{n:100-4400}, c0000005, {x:8}"`, "Faulting application")
)

// windows writes one event of host h.
func (w *window) windows(t int64, h *host, e *winEvent) {
	b, ok := w.begin(kWindows, t)
	if !ok {
		return
	}
	b = append(b, `{"EventTime":"`...)
	b = appendISO(b, t, ' ')
	b = appendFraction(b, t, 3)
	b = append(b, `","Hostname":"`...)
	b = append(b, h.fqdn...)
	b = append(b, `","Channel":"`...)
	b = append(b, e.channel...)
	b = append(b, `","EventID":`...)
	b = strconv.AppendInt(b, int64(e.id), 10)
	b = append(b, e.constant...)
	b = append(b, `,"RecordNumber":`...)
	b = strconv.AppendInt(b, int64(h.id)*7919+(t-w.p.start)/(700*1000)+20000, 10)
	b = append(b, `,"ProcessID":`...)
	b = strconv.AppendInt(b, int64(600+h.id*44%900), 10)
	b = append(b, `,"ThreadID":`...)
	b = strconv.AppendInt(b, int64(w.ink.between(20, 2500)*4), 10)
	w.v.h = h
	w.finish(e.data.expand(b, &w.v, &w.ink))
}

// logonID is the number of the user's n-th logon session on a host on a day: the same wherever it is asked for.
func (w *window) logonID(u *user, h *host, dayNumber, n int) string {
	r := newRandom(w.p.tenant.seed, siteDay, u.id<<12^h.id, 1_000_000+dayNumber*64+n)
	return "0x" + strconv.FormatInt(int64(r.between(0x20000, 0x7fffffff)), 16)
}

// networkLogon writes what a server h and a domain controller see when the user of w.v comes over the network from w.v.ip.
func (w *window) networkLogon(t int64, h *host, ntlm bool, logonID string) {
	v := &w.v
	dc := w.p.tenant.dcs[v.u.id%len(w.p.tenant.dcs)]
	v.port = w.port()
	if ntlm {
		v.s = [8]string{0: v.u.ws.name, 1: "0x0"}
		w.windows(t-20_000, dc, winNTLM)
		v.s = [8]string{0: "NtLmSsp ", 1: "NTLM", 2: v.u.ws.name, 3: "NTLM V2", 7: logonID}
		v.n[0], v.n[1] = 3, 128
	} else {
		v.s = [8]string{0: h.name + "$"}
		w.windows(t-20_000, dc, winTicket)
		v.s = [8]string{0: "Kerberos", 1: "Kerberos", 2: "-", 3: "-", 7: logonID}
		v.n[0], v.n[1] = 3, 0
	}
	v.port = w.port()
	w.windows(t, h, winLogon)
}

// logoff ends a session of the given type.
func (w *window) logoff(t int64, h *host, typ int64, logonID string) {
	w.v.s[7], w.v.n[0] = logonID, typ
	w.windows(t, h, winLogoff)
}

// failedLogon writes a 4625 of the given logon type for an account name.
func (w *window) failedLogon(t int64, h *host, account string, known bool, typ int64, workstation string) {
	v := &w.v
	v.port = w.port()
	v.n[0], v.n[1] = typ, 2313
	v.s = [8]string{0: account, 1: "0xc000006d", 2: "0xc000006a", 3: "NtLmSsp ", 4: "NTLM", 5: workstation}
	if !known {
		v.s[2] = "0xc0000064"
	}
	w.windows(t, h, winLogonFailed)
}

// process writes a 4688; elevated says that the token is full.
func (w *window) process(t int64, h *host, logonID, image, command, parent string, elevated bool) {
	v := &w.v
	v.s = [8]string{0: image, 1: command, 2: parent, 3: "8192", 7: logonID}
	v.n[0] = 1938
	if elevated {
		v.s[3], v.n[0] = "12288", 1937
	}
	w.windows(t, h, winProcess)
}

// programs that people start: image, command line, parent. % stands for the login.
var programs = [][3]string{
	{`C:\Program Files\Google\Chrome\Application\chrome.exe`, `"C:\Program Files\Google\Chrome\Application\chrome.exe" --type=renderer --lang=en-US`, `C:\Program Files\Google\Chrome\Application\chrome.exe`},
	{`C:\Program Files\Microsoft Office\root\Office16\OUTLOOK.EXE`, `"C:\Program Files\Microsoft Office\root\Office16\OUTLOOK.EXE"`, `C:\Windows\explorer.exe`},
	{`C:\Windows\System32\svchost.exe`, `C:\Windows\system32\svchost.exe -k netsvcs -p -s wlidsvc`, `C:\Windows\System32\services.exe`},
	{`C:\Program Files\Microsoft Office\root\Office16\EXCEL.EXE`, `"C:\Program Files\Microsoft Office\root\Office16\EXCEL.EXE" "C:\Users\%\Documents\budget.xlsx"`, `C:\Windows\explorer.exe`},
	{`C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE`, `"C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE" /n "C:\Users\%\Documents\minutes.docx"`, `C:\Windows\explorer.exe`},
	{`C:\Windows\System32\backgroundTaskHost.exe`, `"C:\Windows\system32\backgroundTaskHost.exe" -ServerName:App.AppXmtcan0h2tfbfy7k9kn8hbxb6dmzz1zh0.mca`, `C:\Windows\System32\svchost.exe`},
	{`C:\Windows\System32\conhost.exe`, `\??\C:\Windows\system32\conhost.exe 0xffffffff -ForceV1`, `C:\Windows\System32\cmd.exe`},
	{`C:\Windows\System32\taskhostw.exe`, `taskhostw.exe Install $(Arg0)`, `C:\Windows\System32\svchost.exe`},
	{`C:\Windows\System32\SearchProtocolHost.exe`, `"C:\Windows\system32\SearchProtocolHost.exe" Global\UsGthrFltPipeMssGthrPipe`, `C:\Windows\System32\SearchIndexer.exe`},
	{`C:\Program Files\TalkBarn\talkbarn.exe`, `"C:\Program Files\TalkBarn\talkbarn.exe" --minimized`, `C:\Windows\explorer.exe`},
	{`C:\Windows\System32\cmd.exe`, `C:\Windows\system32\cmd.exe /c ""\\umbrin.example\netlogon\logon.cmd""`, `C:\Windows\System32\userinit.exe`},
	{`C:\Windows\System32\notepad.exe`, `"C:\Windows\system32\notepad.exe" C:\Users\%\Desktop\notes.txt`, `C:\Windows\explorer.exe`},
	{`C:\Windows\System32\dllhost.exe`, `C:\Windows\system32\DllHost.exe /Processid:{AB8902B4-09CA-4BB6-B78D-A8F59079A8D5}`, `C:\Windows\System32\svchost.exe`},
	{`C:\Windows\System32\gpupdate.exe`, `gpupdate.exe /target:computer`, `C:\Windows\System32\svchost.exe`},
	{`C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe`, `powershell.exe -NoProfile -ExecutionPolicy RemoteSigned -File C:\ProgramData\IT\inventory.ps1`, `C:\Windows\System32\svchost.exe`},
	{`C:\Windows\System32\mstsc.exe`, `"C:\Windows\system32\mstsc.exe" /v:RDS01.corp.umbrin.example`, `C:\Windows\explorer.exe`},
	{`C:\Windows\System32\wbem\WmiPrvSE.exe`, `C:\Windows\system32\wbem\wmiprvse.exe -secured -Embedding`, `C:\Windows\System32\svchost.exe`},
	{`C:\Windows\System32\net.exe`, `net use Z: \\FS01\share /persistent:no`, `C:\Windows\System32\cmd.exe`},
	{`C:\Windows\System32\ipconfig.exe`, `ipconfig /all`, `C:\Windows\System32\cmd.exe`},
	{`C:\Windows\System32\whoami.exe`, `whoami /groups`, `C:\Windows\System32\cmd.exe`},
}
