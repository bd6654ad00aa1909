$Page = {{ps .Page}}
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
