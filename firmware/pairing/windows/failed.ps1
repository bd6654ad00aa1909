catch {
    Say ''
    Say "Not done: $($_.Exception.Message)"
    if ($Part -eq 'elevated') {
        Say 'Press Enter.'
        $null = [Console]::ReadLine()
    }
    exit 1
}
