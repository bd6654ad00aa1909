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
    Remove-From 'My' { param($one) [Convert]::ToBase64String($one.IssuerName.RawData) -eq {{ps .Issuer}} } $true
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
