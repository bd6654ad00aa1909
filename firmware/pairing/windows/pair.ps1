$Secret = {{ps .Secret}}
$Confirm = {{ps .Confirm}}
$Share = {{ps .Share}}
$User = {{ps .User}}
$Port = {{.Port}}

function Pair {
    $folder = [IO.Path]::Combine([IO.Path]::GetTempPath(), 'postern-' + [Guid]::NewGuid().ToString('N'))
    $null = [IO.Directory]::CreateDirectory($folder)
    try {
        Say "1 of 4: the authority of $Fqdn"
        $bytes = [Convert]::FromBase64String({{ps .CABase64}})
        $ca = [Security.Cryptography.X509Certificates.X509Certificate2]::new($bytes)
        $hash = [BitConverter]::ToString([Security.Cryptography.SHA256]::Create().ComputeHash($ca.RawData)).Replace('-', '')
        if ($hash -ne $CaSha256) { throw 'The authority in this script is not the one it names. Download the script anew.' }
        $file = Join-Path $folder 'ca.cer'
        [IO.File]::WriteAllBytes($file, $bytes)
        Import-Certificate -FilePath $file -CertStoreLocation Cert:\LocalMachine\Root | Out-Null

        Say '2 of 4: a key that stays on this PC'
        $request = New-Request $folder

        Say "3 of 4: the certificate. Compare: the box shows the code $Confirm. Accept there, on its panel or its page."
        try {
            $null = [Net.Dns]::GetHostAddresses($Fqdn)
        } catch {
            Say "This PC does not know the name $Fqdn. Are PC and box in one network? If they are, the name has to stand in"
            Say 'the DNS of your router, or in the file C:\Windows\System32\drivers\etc\hosts of this PC: address, space, name.'
            throw
        }
        $answer = Join-Path $folder 'client.crt'
        $headers = @{ 'Authorization' = "Bearer $Secret"; 'Postern-Device' = [Uri]::EscapeDataString($env:COMPUTERNAME) }
        try {
            Invoke-WebRequest "$Page/pair/enrol" -Method Post -Headers $headers -InFile $request -OutFile $answer
        } catch {
            Say 'The box gave no certificate. It was refused there, or took longer than ten minutes, or this script was used'
            Say "before: it works once. If the box cannot be reached at $Page, look whether a firewall is in the way."
            throw
        }
        Say "4 of 4: Windows shows it to $Fqdn"
        Use-Answer $answer
    } finally {
        [IO.Directory]::Delete($folder, $true)
    }
}

function Map-Drive {
    if ($Port -ne 443 -and $Build -lt 26100) {
        throw "The box is reached at UDP port $Port, and this Windows (build $Build) knows only 443. Windows 11 24H2 knows others."
    }
    $taken = [IO.DriveInfo]::GetDrives().Name
    $drive = {{ps .Letters}}.Split(' ').Where({ $taken -notcontains ($_ + '\') }, 'First')[0]
    if (-not $drive) { throw 'No drive letter is free.' }
    $typed = $Host.UI.PromptForCredential('Postern', "Password for $Fqdn", $User, '')
    if (-not $typed) { throw 'Without a password the drive is not connected. The PC is paired: run New-SmbMapping later.' }
    $mapping = @{
        LocalPath = $drive; RemotePath = "\\$Fqdn\$Share"; TransportType = 'QUIC'
        UserName = $typed.GetNetworkCredential().UserName; Password = $typed.GetNetworkCredential().Password
        Persistent = $true; SaveCredentials = $true
    }
    if ($Port -ne 443) { $mapping['QuicPort'] = $Port }
    try {
        New-SmbMapping @mapping | Out-Null
    } catch {
        Say "The drive was not connected: $($_.Exception.Message)"
        Say "- A wrong password: connect again, after a few seconds."
        Say "- Nothing answers: a firewall on the way has to let UDP port $Port through to $Fqdn."
        Say "- The name is not found away from home: it has to be one that the Internet knows, too."
        Say '- The box refuses: was this PC revoked there? Its log says so, under "audit".'
        Say 'Windows says more in its Event Viewer, under Microsoft, Windows, SMBClient: events 30831, 30832 and 31017.'
        throw
    }
    Say "Done: $Share of $Fqdn is drive $drive"
}

try {
    if ($Part -eq 'elevated') {
        Pair
        exit 0
    }
    Say "This PC is being paired with $Fqdn. The code is $Confirm: the box has to show the same."
    if ((Run-Elevated) -ne 0) { throw 'The certificate was not set up. What went wrong stands in the other window.' }
    Map-Drive
    exit 0
}
