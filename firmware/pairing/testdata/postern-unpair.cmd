@echo off
rem Made by postern.local for one Windows PC. A double click runs it; below is PowerShell, to be read.
setlocal
set "POSTERN_SELF=%~f0"
powershell.exe -NoLogo -NoProfile -ExecutionPolicy Bypass -Command "& ([ScriptBlock]::Create(([IO.File]::ReadAllText($env:POSTERN_SELF, [Text.Encoding]::UTF8) -split '\r?\n#POSTERN\r?\n', 2)[1])) $env:POSTERN_SELF"
set "POSTERN_RESULT=%ERRORLEVEL%"
pause
exit /b %POSTERN_RESULT%
#POSTERN
param([string]$Self, [string]$Part)
$ErrorActionPreference = 'Stop'
$Fqdn = 'postern.local'
$Local = 'postern.local'
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
$Page = 'https://postern.local'

function Is-Ours($one) { return [Convert]::ToBase64String($one.IssuerName.RawData) -eq 'MDgxNjA0BgNVBAMTLVBvc3Rlcm4gYXV0aG9yaXR5IG9mIHBvc3Rlcm4ubG9jYWwgKDZhOWVkZDBjKQ==' }

# Tells the box, with this PC's certificate, that it is to be let in no more.
function Tell-Box {
    $store = [Security.Cryptography.X509Certificates.X509Store]::new('My', 'LocalMachine')
    $store.Open('ReadOnly')
    try {
        foreach ($one in @($store.Certificates)) {
            if (-not (Is-Ours $one) -or -not $one.HasPrivateKey) { continue }
            try {
                Invoke-WebRequest "$Page/pair/unpair" -Method Post -Certificate $one -UseBasicParsing | Out-Null
                return $true
            } catch {
                Say "       the box could not be told: $($_.Exception.Message)"
            }
        }
    } finally {
        $store.Close()
    }
    return $false
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
    Say '1 of 4: the box is told'
    $told = Tell-Box
    Say "2 of 4: Windows shows no certificate to $Fqdn any more"
    try {
        foreach ($name in $Fqdn, $Local) { Remove-SmbClientCertificateMapping -Namespace $name -Force -ErrorAction SilentlyContinue }
    } catch [Management.Automation.CommandNotFoundException] {
        Say '       it never could'
    }
    Say '3 of 4: this PC''s certificate and its key'
    Remove-From 'My' { param($one) Is-Ours $one } $true
    Say '4 of 4: the authority'
    Remove-From 'Root' { param($one) [BitConverter]::ToString([Security.Cryptography.SHA256]::Create().ComputeHash($one.RawData)).Replace('-', '') -eq $CaSha256 } $false
    return $told
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

# What New-SmbMapping -SaveCredentials has put into this user's Credential Manager, under a name of the server.
function Forget-Passwords {
    foreach ($name in $Fqdn, $Local) {
        cmdkey "/delete:$name" | Out-Null
        if ($LASTEXITCODE -eq 0) { Say "The password for $name is forgotten." }
    }
}

try {
    if ($Part -eq 'elevated') {
        if (-not (Unpair)) { exit 2 }
        exit 0
    }
    Say "What pairing with $Fqdn has set up on this PC is removed."
    Unmap-Drives
    Forget-Passwords
    $result = Run-Elevated
    if ($result -eq 2) {
        Say 'Done on this PC. The box could not be told: it is away, or has let go of this PC before. An owner looks on its page, under Devices.'
        exit 0
    }
    if ($result -ne 0) { throw 'The certificates were not removed. What went wrong stands in the other window.' }
    Say 'Done, and the box lets this PC in no more.'
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
