function Renew {
    $folder = [IO.Path]::Combine([IO.Path]::GetTempPath(), 'postern-' + [Guid]::NewGuid().ToString('N'))
    $null = [IO.Directory]::CreateDirectory($folder)
    $store = [Security.Cryptography.X509Certificates.X509Store]::new('My', 'LocalMachine')
    $store.Open('ReadWrite')
    try {
        Say "1 of 3: this PC's certificate for $Fqdn"
        $old = $null
        foreach ($one in @($store.Certificates)) {
            $ours = [Convert]::ToBase64String($one.IssuerName.RawData) -eq {{ps .Issuer}}
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
