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
$Page = 'https://attic.local:8444'
$Build = [Environment]::OSVersion.Version.Build

# A request for a certificate, for a new key that stays on this PC.
function New-Request([string]$folder) {
    $request = Join-Path $folder 'request.csr'
    $made = $false
    foreach ($provider in 'Microsoft Platform Crypto Provider', 'Microsoft Software Key Storage Provider') {
        $inf = Join-Path $folder 'request.inf'
        @"
[NewRequest]
Subject = "CN=Postern client"
KeyAlgorithm = ECDSA_P256
KeyLength = 256
MachineKeySet = TRUE
Exportable = FALSE
ProviderName = "$provider"
RequestType = PKCS10
[EnhancedKeyUsageExtension]
OID = 1.3.6.1.5.5.7.3.2
"@ | Set-Content $inf
        certreq -new -machine -q $inf $request | Out-Null
        if ($LASTEXITCODE -eq 0) {
            $made = $true
            Say "       kept by: $provider"
            break
        }
        Say "       not kept by: $provider"
    }
    if (-not $made) { throw 'Windows could not make a key: certreq failed with both of its key stores.' }
    return $request
}

# Takes the certificate in, and has Windows show it to the box.
function Use-Answer([string]$answer) {
    certreq -accept -machine -q $answer | Out-Null
    if ($LASTEXITCODE -ne 0) { throw 'Windows did not take the certificate: certreq -accept failed.' }
    $certificate = [Security.Cryptography.X509Certificates.X509Certificate2]::new($answer)

    try {
        foreach ($name in $Fqdn, $Local) {
            Remove-SmbClientCertificateMapping -Namespace $name -Force -ErrorAction SilentlyContinue
            New-SmbClientCertificateMapping -Namespace $name -Thumbprint $certificate.Thumbprint -StoreName My -Force | Out-Null
        }
    } catch [Management.Automation.CommandNotFoundException] {
        throw "This Windows (build $Build) cannot show a certificate over QUIC. Windows 11 24H2 can: install its updates."
    }
}
function Renew {
    $folder = [IO.Path]::Combine([IO.Path]::GetTempPath(), 'postern-' + [Guid]::NewGuid().ToString('N'))
    $null = [IO.Directory]::CreateDirectory($folder)
    $store = [Security.Cryptography.X509Certificates.X509Store]::new('My', 'LocalMachine')
    $store.Open('ReadWrite')
    try {
        Say "1 of 3: this PC's certificate for $Fqdn"
        $old = $null
        foreach ($one in @($store.Certificates)) {
            $ours = [Convert]::ToBase64String($one.IssuerName.RawData) -eq 'MDgxNjA0BgNVBAMTLVBvc3Rlcm4gYXV0aG9yaXR5IG9mIHBvc3Rlcm4ubG9jYWwgKDZhOWVkZDBjKQ=='
            if ($ours -and $one.HasPrivateKey -and (-not $old -or $one.NotAfter -gt $old.NotAfter)) { $old = $one }
        }
        if (-not $old) { throw 'This PC has none: pair it.' }
        Say "       is good until $($old.NotAfter)"
        Say '2 of 3: a new key, and the next certificate'
        $request = New-Request $folder
        # What proves that this PC asks: the request, signed with the key that it has.
        $key = [Security.Cryptography.X509Certificates.ECDsaCertificateExtensions]::GetECDsaPrivateKey($old)
        $proof = $key.SignData([IO.File]::ReadAllBytes($request), [Security.Cryptography.HashAlgorithmName]::SHA256)
        $hash = [BitConverter]::ToString([Security.Cryptography.SHA256]::Create().ComputeHash($old.RawData)).Replace('-', '')
        $answer = Join-Path $folder 'client.crt'
        $headers = @{ 'Postern-Certificate' = $hash; 'Postern-Signature' = [Convert]::ToBase64String($proof) }
        try {
            Invoke-WebRequest "$Page/pair/renew" -Method Post -Headers $headers -InFile $request -OutFile $answer
        } catch {
            Say 'The box gave no new certificate. It does so in the last 90 days of the old one, in its own network, unless this PC'
            Say "was revoked. If the box cannot be reached at $Page, look whether a firewall is in the way."
            throw
        }
        Say "3 of 3: Windows shows it to $Fqdn"
        Use-Answer $answer
        $store.Remove($old)
    } finally {
        $store.Close()
        [IO.Directory]::Delete($folder, $true)
    }
}

try {
    if ($Part -eq 'elevated') {
        Renew
        exit 0
    }
    if ((Run-Elevated) -ne 0) { throw 'The certificate was not renewed. What went wrong stands in the other window.' }
    Say 'Done. Drives that are connected stay so.'
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
