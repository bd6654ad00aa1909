@echo off
rem Made by nas.example.org for one Windows PC. A double click runs it; below is PowerShell, to be read.
setlocal
set "POSTERN_SELF=%~f0"
powershell.exe -NoLogo -NoProfile -ExecutionPolicy Bypass -Command "& ([ScriptBlock]::Create(([IO.File]::ReadAllText($env:POSTERN_SELF, [Text.Encoding]::UTF8) -split '\r?\n#POSTERN\r?\n', 2)[1])) $env:POSTERN_SELF"
set "POSTERN_RESULT=%ERRORLEVEL%"
pause
exit /b %POSTERN_RESULT%
#POSTERN
param([string]$Self, [string]$Part)
$ErrorActionPreference = 'Stop'
$Fqdn = 'nas.example.org'
$Local = 'attic.local'
$CaSha256 = 'CB00992C5F542402DDDF90437822278F0F10DD97CE8B1CD8F4A66149A5473C8E'

function Say([string]$Text) { [Console]::WriteLine($Text) }

# Certificates are the machine's: they need an administrator, and Windows asks for one. A drive is its user's: one that is
# connected as administrator does not show in Explorer. So this script runs itself a second time, for its first half.
function Run-Elevated {
    $quoted = [Management.Automation.Language.CodeGeneration]::EscapeSingleQuotedStringContent($Self)
    $code = "& ([ScriptBlock]::Create(([IO.File]::ReadAllText('$quoted', [Text.Encoding]::UTF8) -split '\r?\n#POSTERN\r?\n', 2)[1])) '$quoted' elevated"
    $bytes = [Text.Encoding]::Unicode.GetBytes($code)
    $start = [Diagnostics.ProcessStartInfo]::new('powershell.exe', '-NoLogo -NoProfile -ExecutionPolicy Bypass -EncodedCommand ' + [Convert]::ToBase64String($bytes))
    $start.Verb = 'runas'
    $start.UseShellExecute = $true
    $process = [Diagnostics.Process]::Start($start)
    $process.WaitForExit()
    return $process.ExitCode
}
function Remove-From([string]$Store, [scriptblock]$Which, [bool]$WithKey) {
    $open = [Security.Cryptography.X509Certificates.X509Store]::new($Store, 'LocalMachine')
    $open.Open('ReadWrite')
    try {
        foreach ($one in @($open.Certificates)) {
            if (-not (& $Which $one)) { continue }
            if ($WithKey) {
                try {
                    [Security.Cryptography.X509Certificates.ECDsaCertificateExtensions]::GetECDsaPrivateKey($one).Key.Delete()
                } catch {
                    Say "       its key was gone, or could not be deleted: $($_.Exception.Message)"
                }
            }
            $open.Remove($one)
            Say "       removed: $($one.Subject)"
        }
    } finally {
        $open.Close()
    }
}

function Unpair {
    Say "1 of 3: Windows shows no certificate to $Fqdn any more"
    foreach ($name in $Fqdn, $Local) { Remove-SmbClientCertificateMapping -Namespace $name -Force -ErrorAction SilentlyContinue }
    Say '2 of 3: this PC''s certificate and its key'
    Remove-From 'My' { param($one) [Convert]::ToBase64String($one.IssuerName.RawData) -eq 'MDgxNjA0BgNVBAMTLVBvc3Rlcm4gYXV0aG9yaXR5IG9mIHBvc3Rlcm4ubG9jYWwgKDZhOWVkZDBjKQ==' } $true
    Say '3 of 3: the authority'
    Remove-From 'Root' { param($one) [BitConverter]::ToString([Security.Cryptography.SHA256]::Create().ComputeHash($one.RawData)).Replace('-', '') -eq $CaSha256 } $false
}

function Unmap-Drives {
    $mapped = [Microsoft.Win32.Registry]::CurrentUser.OpenSubKey('Network')
    if (-not $mapped) { return }
    foreach ($letter in $mapped.GetSubKeyNames()) {
        $path = [string]$mapped.OpenSubKey($letter).GetValue('RemotePath')
        foreach ($name in $Fqdn, $Local) {
            if ($path.StartsWith("\\$name\", [StringComparison]::OrdinalIgnoreCase)) {
                net use "${letter}:" /delete | Out-Null
                Say "Drive ${letter}: is disconnected."
                break
            }
        }
    }
}

try {
    if ($Part -eq 'elevated') {
        Unpair
        exit 0
    }
    Say "What pairing with $Fqdn has set up on this PC is removed."
    Unmap-Drives
    if ((Run-Elevated) -ne 0) { throw 'The certificates were not removed. What went wrong stands in the other window.' }
    Say "Done. The password that Windows keeps for $Fqdn is removed in Control Panel, Credential Manager, Windows Credentials."
    Say 'Tell the box, too: unpair this PC on its panel or page, so that it forgets the certificate.'
    exit 0
}
catch {
    Say ''
    Say "Not done: $($_.Exception.Message)"
    if ($Part -eq 'elevated') {
        Say 'Press Enter.'
        $null = [Console]::ReadLine()
    }
    exit 1
}
